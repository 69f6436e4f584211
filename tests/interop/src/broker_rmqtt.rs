//! RMQTT as a broker on the loopback: `broker-rmqtt CERTIFICATE KEY TLS_PORT QUIC_PORT PACKET_BYTES_MAX`.
//!
//! The key must be PKCS #8. Without its shared-subscription plugin it grants `$share` and delivers nothing.

use std::net::SocketAddr;

use rmqtt::context::ServerContext;
use rmqtt::net::{Builder, tls_provider};
use rmqtt::server::MqttServer;

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let [certificate, key, tls_port, quic_port, packet_bytes_max] = &words[..] else {
        return Err("broker-rmqtt CERTIFICATE KEY TLS_PORT QUIC_PORT PACKET_BYTES_MAX".into());
    };
    env_logger::Builder::from_env(env_logger::Env::default().default_filter_or("warn")).init();
    let _ = tls_provider::default_provider().install_default();
    let packet_bytes_max = packet_bytes_max.parse()?;
    let at = |port: &str| format!("127.0.0.1:{port}").parse::<SocketAddr>();
    let listener = |name: &str, address: SocketAddr| {
        Builder::new()
            .name(name)
            .laddr(address)
            .reuseaddr(Some(true))
            .nodelay(true)
            .allow_anonymous(true)
            .max_packet_size(packet_bytes_max)
            .tls_cert(Some(certificate.clone()))
            .tls_key(Some(key.clone()))
    };
    MqttServer::new(ServerContext::new().build().await)
        .listener(listener("tls", at(tls_port)?).bind()?.tls()?)
        .listener(listener("quic", at(quic_port)?).bind_quic()?)
        .build()
        .run()
        .await?;
    Ok(())
}
