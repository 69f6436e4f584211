//! mqtt5's broker on the loopback, in memory: `broker-mqtt5 CERTIFICATE KEY TLS_PORT QUIC_PORT PACKET_BYTES_MAX`.

use mqtt5::broker::MqttBroker;
use mqtt5::broker::config::{
    BrokerConfig, QuicConfig, ServerDeliveryStrategy, StorageBackend, StorageConfig, TlsConfig,
};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let [certificate, key, tls_port, quic_port, packet_bytes_max] = &words[..] else {
        return Err("broker-mqtt5 CERTIFICATE KEY TLS_PORT QUIC_PORT PACKET_BYTES_MAX".into());
    };
    // Both brokers' libraries bring one of their own; one has to be chosen.
    let _ = rmqtt::net::tls_provider::default_provider().install_default();
    let at = |port: &str| format!("127.0.0.1:{port}").parse();
    let quic = QuicConfig::new(certificate.into(), key.into())
        .with_bind_address(at(quic_port)?)
        .with_early_data(true)
        .with_stream_receive_window(8 << 20);
    let mut tls = TlsConfig::new(certificate.into(), key.into());
    tls.bind_addresses = vec![at(tls_port)?];
    let mut storage = StorageConfig::default();
    storage.backend = StorageBackend::Memory;
    let config = BrokerConfig::default()
        // It insists on a port in the clear; nobody is told which.
        .with_bind_address(at("0")?)
        .with_tls(tls)
        .with_quic(quic)
        .with_storage(storage)
        // By default it delivers on streams that it opens itself, which is another protocol.
        .with_server_delivery_strategy(ServerDeliveryStrategy::ControlOnly)
        .with_server_receive_maximum(64)
        .with_max_packet_size(packet_bytes_max.parse()?);
    MqttBroker::with_config(config).await?.run().await?;
    Ok(())
}
