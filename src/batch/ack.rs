//! What the collector says of the batches that it has: cumulative, retained, JSON.
//!
//! ```text
//! {"version":1,"epoch":3,"sequence":17,"crc":2774,"position":{…}}            all up to 17 is durable
//! {"version":1,"epoch":3,"sequence":17,"crc":2774,…,"demand":"rewind"}       18 is wanted next
//! {"version":1,"epoch":3,"sequence":17,…,"demand":"new-epoch","why":"…"}     begin an epoch above 3
//! {"version":1,"epoch":3,"sequence":17,…,"gtids":"…","demand":"reread",…}    read the source again from there
//! ```

use serde::{Deserialize, Serialize};

use crate::position::{GtidSet, Position, Sequence};

use super::BatchError;

/// An acknowledgement: the only thing that lets an agent forget.
#[derive(Clone, Debug, Default, Eq, PartialEq, Serialize, Deserialize)]
pub struct Ack {
    /// The message's version: 1.
    pub version: u32,
    /// The agent's epoch that the collector is in; 0 if it has nothing of this agent.
    pub epoch: u64,
    /// All batches of the epoch up to this one are durable.
    pub sequence: Sequence,
    /// The CRC of that batch, so that two histories cannot be mixed up.
    pub crc: u32,
    /// Where its last transaction ended at the source.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub position: Option<Position>,
    /// All transactions that are there, as the servers write a set of GTIDs: with [`Demand::Reread`] alone,
    /// and empty where there are none.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub gtids: String,
    /// What the agent must do before the collector takes more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub demand: Option<Demand>,
    /// The epoch of the batch that the demand is about; a demand about another epoch than the agent's
    /// own is out of date.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub demand_epoch: u64,
    /// The demand's reason, for the agent's log.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub why: String,
}

/// What a collector may ask of an agent.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Demand {
    /// Send again from the batch behind [`Ack::sequence`]: one is missing.
    Rewind,
    /// Begin an epoch above [`Ack::epoch`]: the batches do not continue what is here.
    NewEpoch,
    /// Begin an epoch above [`Ack::epoch`], with all schemas in front: one is not known here.
    Schemas,
    /// Read the source again from [`Ack::position`] on: what was acknowledged behind it is not here (any
    /// more).
    Reread,
}

/// No acknowledgement is longer, in bytes.
const ACK_BYTES_MAX: usize = 16 * 1024;

// The signature is serde's.
#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde calls it by reference")]
fn is_zero(epoch: &u64) -> bool {
    *epoch == 0
}

impl Ack {
    /// The set of [`Ack::gtids`]; empty if it is none.
    pub fn gtid_set(&self) -> GtidSet {
        self.gtids.parse().unwrap_or_default()
    }

    /// The message's bytes.
    pub fn encode(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("an acknowledgement has no unserializable part")
    }

    /// Reads what [`Ack::encode`] wrote.
    pub fn decode(bytes: &[u8]) -> Result<Self, BatchError> {
        if bytes.len() > ACK_BYTES_MAX {
            return Err(BatchError::TooLarge("acknowledgement"));
        }
        let ack: Self =
            serde_json::from_slice(bytes).map_err(|_| BatchError::Refused("acknowledgement"))?;
        match ack.version {
            1 => Ok(ack),
            other => Err(BatchError::Unknown("acknowledgement version", u64::from(other))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_ack_survives_its_text() {
        let ack = Ack {
            version: 1,
            epoch: 3,
            sequence: Sequence(17),
            crc: 2774,
            demand: Some(Demand::NewEpoch),
            demand_epoch: 3,
            ..Ack::default()
        };
        let text = ack.encode();
        assert_eq!(Ack::decode(&text), Ok(ack));
        assert!(String::from_utf8(text).unwrap().contains(r#""demand":"new-epoch""#));
    }

    #[test]
    fn another_version_is_refused() {
        assert!(Ack::decode(br#"{"version":2,"epoch":1,"sequence":1,"crc":0}"#).is_err());
        assert!(Ack::decode(b"{}").is_err());
    }
}
