//! One seed, one stream of choices.

/// The choices.
pub struct Chance(fastrand::Rng);

impl Chance {
    pub fn new(seed: u64) -> Self {
        Self(fastrand::Rng::with_seed(seed))
    }

    /// 0 to `limit - 1`.
    pub fn below(&mut self, limit: usize) -> usize {
        self.0.usize(0..limit)
    }

    /// Both ends are possible.
    pub fn between(&mut self, low: i64, high: i64) -> i64 {
        self.0.i64(low..=high)
    }

    pub fn percent(&mut self, percent: u32) -> bool {
        self.0.u32(0..100) < percent
    }

    pub fn bits(&mut self) -> u64 {
        self.0.u64(..)
    }

    pub fn byte(&mut self) -> u8 {
        self.0.u8(..)
    }

    pub fn of<'a, T>(&mut self, list: &'a [T]) -> &'a T {
        &list[self.below(list.len())]
    }

    /// Small numbers most often, up to `limit`.
    pub fn length(&mut self, limit: usize) -> usize {
        let shift = self.0.u32(0..usize::BITS - limit.max(1).leading_zeros() + 1);
        let top = (1_usize << shift).min(limit);
        self.0.usize(0..=top)
    }

    /// Some of a list's items, in their order, at least one.
    pub fn some<T: Clone>(&mut self, list: &[T]) -> Vec<T> {
        let mut chosen: Vec<T> = list.iter().filter(|_| self.0.bool()).cloned().collect();
        if chosen.is_empty() && !list.is_empty() {
            chosen.push(self.of(list).clone());
        }
        chosen
    }
}
