//! SASL PLAIN with a broker that refuses it, which the mock cluster cannot do: as much of the protocol as that takes
//! (<https://kafka.apache.org/protocol>: a length, then a key, a version, a correlation id; answers begin with the last).

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};

use super::*;

const SASL_HANDSHAKE: i16 = 17;
const API_VERSIONS: i16 = 18;
const SASL_AUTHENTICATE: i16 = 36;
const UNSUPPORTED_VERSION: i16 = 35;
const SASL_AUTHENTICATION_FAILED: i16 = 58;

/// What a client says of itself, as PLAIN has it (RFC 4616).
async fn refuse(mut client: TcpStream, heard: mpsc::UnboundedSender<Vec<u8>>) -> Option<()> {
    loop {
        let length = client.read_u32().await.ok()?;
        let mut request = vec![0; usize::try_from(length).unwrap()];
        client.read_exact(&mut request).await.ok()?;
        let number = |at: usize| i16::from_be_bytes([request[at], request[at + 1]]);
        let mut answer = request[4..8].to_vec();
        match (number(0), number(2)) {
            // Then it asks again in the oldest way.
            (API_VERSIONS, 1..) => answer.extend([&UNSUPPORTED_VERSION.to_be_bytes()[..], &[0; 4]].concat()),
            (API_VERSIONS, _) => {
                let known: [(i16, i16); 6] = [(0, 7), (3, 4), (SASL_HANDSHAKE, 1), (API_VERSIONS, 0), (22, 1), (SASL_AUTHENTICATE, 0)];
                answer.extend([0, 0, 0, 0, 0, 6]);
                known.iter().for_each(|(key, most)| answer.extend([key.to_be_bytes(), [0, 0], most.to_be_bytes()].concat()));
            }
            (SASL_HANDSHAKE, _) => answer.extend(b"\0\0\0\0\0\x01\0\x05PLAIN"),
            (SASL_AUTHENTICATE, _) => {
                let client_id = usize::try_from(number(8)).unwrap();
                // After the client's name and the length of what it says.
                let _ = heard.send(request[10 + client_id + 4..].to_vec());
                answer.extend(SASL_AUTHENTICATION_FAILED.to_be_bytes());
                answer.extend(b"\0\x0bnot you, me\0\0\0\0");
            }
            other => panic!("nobody may ask {other:?} before the password was taken"),
        }
        client.write_u32(u32::try_from(answer.len()).unwrap()).await.ok()?;
        client.write_all(&answer).await.ok()?;
    }
}

#[tokio::test]
async fn kafka_a_wrong_password_pauses() {
    let listener = TcpListener::bind("127.90.4.3:0").await.unwrap();
    let broker = listener.local_addr().unwrap().to_string();
    let (tell, mut heard) = mpsc::unbounded_channel();
    tokio::spawn(async move {
        while let Ok((client, _)) = listener.accept().await {
            tokio::spawn(refuse(client, tell.clone()));
        }
    });
    let place = tempfile::tempdir().unwrap();
    std::fs::write(place.path().join("password"), "hush\n").unwrap();
    let secret = format!("secret://file{}/password", place.path().display());
    let spec = json!({"type": "kafka", "name": "out", "brokers": [broker], "topic": "logs", "user": "me", "password": secret});
    let Outcome::Paused { reason } = Bench::of(spec).outcome_of(lines(0..1)).await else { panic!() };
    assert!(reason.contains("not you, me") && reason.contains("check the sender's `user` and `password`"), "{reason}");
    assert!(!reason.contains("hush"), "{reason}");
    assert_eq!(heard.recv().await.unwrap(), b"\0me\0hush");
}
