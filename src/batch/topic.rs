//! `rivulet/v1/<tenant>/<agent>/<channel>`: where each kind of message is published.

use std::fmt;

/// A message's place.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Topic<'a> {
    /// Who operates the agents; one label.
    pub tenant: &'a str,
    /// The agent's name, as its certificate has it.
    pub agent: &'a str,
    /// What kind of message.
    pub channel: Channel,
}

/// The kinds of messages.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Channel {
    /// Batches, from the agent.
    Data,
    /// The agent's state as JSON, not retained; its last will says offline.
    Status,
    /// [`super::Ack`], from the collector, retained.
    Ack,
    /// Commands, from the collector.
    Command,
    /// Their answers, from the agent.
    Reply,
    /// What a collector says to itself, to see whether a broker delivers it.
    Probe,
}

const CHANNELS: [(Channel, &str); 6] = [
    (Channel::Data, "data"),
    (Channel::Status, "status"),
    (Channel::Ack, "ack"),
    (Channel::Command, "cmd"),
    (Channel::Reply, "reply"),
    (Channel::Probe, "probe"),
];

impl<'a> Topic<'a> {
    /// Takes a topic apart; `None` if it is not one of ours.
    pub fn parse(text: &'a str) -> Option<Self> {
        let mut labels = text.strip_prefix("rivulet/v1/")?.split('/');
        let (tenant, agent, channel) = (labels.next()?, labels.next()?, labels.next()?);
        let (channel, _) = CHANNELS.iter().find(|(_, name)| *name == channel)?;
        let plain = |label: &str| !label.is_empty() && !label.contains(['+', '#']);
        (labels.next().is_none() && plain(tenant) && plain(agent)).then_some(Self {
            tenant,
            agent,
            channel: *channel,
        })
    }
}

impl fmt::Display for Topic<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let channel = CHANNELS.iter().find(|(channel, _)| *channel == self.channel);
        let (_, name) = channel.expect("every channel has a name");
        write!(f, "rivulet/v1/{}/{}/{name}", self.tenant, self.agent)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_topic_survives_its_text() {
        for (channel, name) in CHANNELS {
            let text = format!("rivulet/v1/default/shop-17/{name}");
            let topic = Topic { tenant: "default", agent: "shop-17", channel };
            assert_eq!(Topic::parse(&text), Some(topic.clone()));
            assert_eq!(topic.to_string(), text);
        }
    }

    #[test]
    fn wildcards_and_strangers_are_not_topics() {
        for text in [
            "",
            "rivulet/v1/a/b",
            "rivulet/v1/a/b/data/x",
            "rivulet/v1/+/b/data",
            "rivulet/v1//b/data",
            "$SYS/x",
            "rivulet/v1/a/b/other",
            "rivulet/v2/a/b/data",
        ] {
            assert_eq!(Topic::parse(text), None, "{text}");
        }
    }
}
