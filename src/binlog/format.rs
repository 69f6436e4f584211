//! stub
/// x
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Flavor {
    /// x
    Mysql,
    /// x
    Mariadb,
}
