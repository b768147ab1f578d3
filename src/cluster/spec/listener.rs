//! The readers that are sent to, as people write them: they cannot wait, so what comes in is on the node's disk before it is sent.

use serde::{Deserialize, Serialize};

use super::{faults::Faults, reader::line_bytes_max};

/// `type = "syslog"`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct SyslogReaderSpec {
    /// Address and port to listen on for datagrams (RFC 5426), such as `127.0.0.1:5514`; beyond loopback the node's policy must allow it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub udp: Option<String>,
    /// Address and port to listen on for TCP (RFC 6587: lines, or messages after their length).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tcp: Option<String>,
    /// Address and port to listen on for TLS (RFC 5425); needs `certificate` and `key`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls: Option<String>,
    /// File on the node with the certificate chain (PEM).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub certificate: Option<String>,
    /// File on the node with the certificate's private key (PEM).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// Connections at once (1 to 65,536); further ones wait.
    #[serde(default = "connections_max")]
    #[cfg_attr(feature = "schema", schema(default = connections_max, minimum = 1, maximum = 65_536))]
    pub connections_max: u32,
    /// Longest message, in bytes (256 to 16 MiB); what is longer is cut, marked and counted.
    #[serde(default = "line_bytes_max")]
    #[cfg_attr(feature = "schema", schema(default = line_bytes_max, minimum = 256, maximum = 16_777_216))]
    pub line_bytes_max: usize,
    /// What the disk queue may take, in bytes (64 MiB to 1 TiB). When it is full, TCP and TLS are held back; datagrams are dropped and counted.
    #[serde(default = "queue_bytes_max")]
    #[cfg_attr(feature = "schema", schema(default = queue_bytes_max, minimum = 67_108_864, maximum = 1_099_511_627_776_i64))]
    pub queue_bytes_max: u64,
}

/// `type = "http_push"`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct HttpPushReaderSpec {
    /// Address and port to listen on, such as `127.0.0.1:8088`; beyond loopback the node's policy must allow it.
    pub listen: String,
    /// What posters must show as `Authorization: Bearer …`: a secret (`secret://env/NAME`, `secret://file/PATH`). None: whoever reaches it may post.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token: Option<String>,
    /// File on the node with the certificate chain (PEM), for HTTPS; needs `key`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub certificate: Option<String>,
    /// File on the node with the certificate's private key (PEM).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// Longest body, unpacked, in bytes (1 KiB to 32 MiB); what is longer is refused with 413.
    #[serde(default = "body_bytes_max")]
    #[cfg_attr(feature = "schema", schema(default = body_bytes_max, minimum = 1_024, maximum = 33_554_432))]
    pub body_bytes_max: usize,
    /// Longest line, in bytes (256 to 16 MiB); what is longer is cut, marked and counted.
    #[serde(default = "line_bytes_max")]
    #[cfg_attr(feature = "schema", schema(default = line_bytes_max, minimum = 256, maximum = 16_777_216))]
    pub line_bytes_max: usize,
    /// What the disk queue may take, in bytes (64 MiB to 1 TiB). When it is full, posters are told to come again (429).
    #[serde(default = "queue_bytes_max")]
    #[cfg_attr(feature = "schema", schema(default = queue_bytes_max, minimum = 67_108_864, maximum = 1_099_511_627_776_i64))]
    pub queue_bytes_max: u64,
}

/// `type = "stdin"`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct StdinReaderSpec {
    /// Longest line, in bytes (256 to 16 MiB); what is longer is cut, marked and counted.
    #[serde(default = "line_bytes_max")]
    #[cfg_attr(feature = "schema", schema(default = line_bytes_max, minimum = 256, maximum = 16_777_216))]
    pub line_bytes_max: usize,
    /// What the disk queue may take, in bytes (64 MiB to 1 TiB). When it is full, standard input is not read.
    #[serde(default = "queue_bytes_max")]
    #[cfg_attr(feature = "schema", schema(default = queue_bytes_max, minimum = 67_108_864, maximum = 1_099_511_627_776_i64))]
    pub queue_bytes_max: u64,
}

fn connections_max() -> u32 {
    1_024
}

fn body_bytes_max() -> usize {
    8 << 20
}

fn queue_bytes_max() -> u64 {
    1 << 30
}

impl SyslogReaderSpec {
    pub(super) fn check(&self, faults: &mut Faults) {
        if self.udp.is_none() && self.tcp.is_none() && self.tls.is_none() {
            faults.add("/reader", "name at least one place to listen on: `udp`, `tcp` or `tls`, such as tcp = \"127.0.0.1:5514\"");
        }
        if self.tcp.is_some() && self.tcp == self.tls {
            faults.add("/reader/tls", "is what `tcp` listens on: use another port");
        }
        for (name, listen) in [("udp", &self.udp), ("tcp", &self.tcp), ("tls", &self.tls)] {
            if let Some(listen) = listen {
                check_listen(format!("/reader/{name}"), listen, faults);
            }
        }
        check_certificate(self.certificate.as_deref(), self.key.as_deref(), faults);
        if self.tls.is_some() && self.certificate.is_none() {
            faults.add("/reader/certificate", "`tls` needs the certificate that it shows: name its file, and that of its `key`");
        }
        faults.range("/reader/connections_max", self.connections_max.into(), 1, 65_536);
        check_queue(self.line_bytes_max, self.queue_bytes_max, faults);
    }
}

impl HttpPushReaderSpec {
    pub(super) fn check(&self, faults: &mut Faults) {
        check_listen("/reader/listen".to_owned(), &self.listen, faults);
        check_certificate(self.certificate.as_deref(), self.key.as_deref(), faults);
        if self.token.as_ref().is_some_and(|token| !token.starts_with("secret://")) {
            let detail = "is a secret, which every node and whoever may look would see here: write secret://env/NAME or secret://file/PATH";
            faults.add("/reader/token", detail);
        }
        faults.range("/reader/body_bytes_max", self.body_bytes_max as u64, 1 << 10, 32 << 20);
        check_queue(self.line_bytes_max, self.queue_bytes_max, faults);
    }
}

/// What all of them share.
fn check_queue(line_bytes_max: usize, queue_bytes_max: u64, faults: &mut Faults) {
    faults.range("/reader/line_bytes_max", line_bytes_max as u64, 256, 16 << 20);
    faults.range("/reader/queue_bytes_max", queue_bytes_max, 64 << 20, 1 << 40);
}

impl StdinReaderSpec {
    pub(super) fn check(&self, faults: &mut Faults) {
        check_queue(self.line_bytes_max, self.queue_bytes_max, faults);
    }
}

fn check_listen(pointer: String, listen: &str, faults: &mut Faults) {
    if listen.parse::<std::net::SocketAddr>().is_err() {
        faults.add(pointer, format!("`{listen}` is no address with a port: write 127.0.0.1:5514, 0.0.0.0:5514 or [::1]:5514"));
    }
}

fn check_certificate(certificate: Option<&str>, key: Option<&str>, faults: &mut Faults) {
    for (name, other, path, needed) in [("certificate", "key", certificate, key), ("key", "certificate", key, certificate)] {
        match path {
            Some(path) if !path.starts_with('/') => faults.add(format!("/reader/{name}"), "must be an absolute path"),
            None if needed.is_some() => faults.add(format!("/reader/{name}"), format!("`{other}` is given: name the file of the {name} too")),
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spec::ReaderSpec;

    fn faults(reader: &str) -> Vec<String> {
        let reader: ReaderSpec = serde_json::from_str(reader).unwrap();
        let mut faults = Faults::default();
        reader.check(&mut faults);
        faults.0.into_iter().map(|fault| fault.to_string()).collect()
    }

    #[test]
    fn what_is_wrong_with_a_listener_names_the_field_and_an_example() {
        assert!(faults(r#"{"type":"syslog"}"#)[0].contains("tcp = \"127.0.0.1:5514\""));
        assert!(faults(r#"{"type":"syslog","udp":"514"}"#)[0].starts_with("/reader/udp: `514` is no address"));
        assert!(faults(r#"{"type":"syslog","tls":"127.0.0.1:6514"}"#)[0].starts_with("/reader/certificate"));
        assert!(faults(r#"{"type":"syslog","tls":"127.0.0.1:1","tcp":"127.0.0.1:1","certificate":"/a","key":"/b"}"#)[0].starts_with("/reader/tls"));
        assert!(faults(r#"{"type":"syslog","tcp":"127.0.0.1:1","certificate":"/a"}"#)[0].starts_with("/reader/key"));
        assert!(faults(r#"{"type":"http_push","listen":"127.0.0.1:1","token":"hush"}"#)[0].contains("secret://file/PATH"));
        assert!(faults(r#"{"type":"http_push","listen":"127.0.0.1:1","queue_bytes_max":1}"#)[0].contains("is not from 67108864 to"));
        for fine in [
            r#"{"type":"syslog","udp":"0.0.0.0:514","tcp":"[::1]:514"}"#,
            r#"{"type":"http_push","listen":"127.0.0.1:8088","token":"secret://file/etc/token"}"#,
            r#"{"type":"stdin"}"#,
        ] {
            assert_eq!(faults(fine), [] as [String; 0]);
        }
    }
}
