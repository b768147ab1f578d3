//! The agent's standard input, line by line. There is one, so one runner of a node can have it.

use std::{
    io::Read,
    sync::{Arc, OnceLock},
};

use bytes::Bytes;
use logvine_cluster::spec::StdinReaderSpec;
use tokio::{
    io::{AsyncRead, AsyncReadExt},
    sync::{Mutex, mpsc},
};

use super::{desk::Desk, framing::Framer};
use crate::queue::Queue;

const BLOCK_BYTES: usize = 64 << 10;
/// Blocks that are read ahead.
const BLOCKS_MAX: usize = 4;

/// What was read of it. The thread that reads is not the runtime's: that would wait for it at the end.
static INPUT: OnceLock<Mutex<mpsc::Receiver<Bytes>>> = OnceLock::new();

fn input() -> &'static Mutex<mpsc::Receiver<Bytes>> {
    INPUT.get_or_init(|| {
        let (tell, blocks) = mpsc::channel(BLOCKS_MAX);
        std::thread::spawn(move || {
            let mut block = vec![0; BLOCK_BYTES];
            let mut input = std::io::stdin().lock();
            loop {
                match input.read(&mut block) {
                    Ok(0) => return,
                    Ok(read) if tell.blocking_send(Bytes::copy_from_slice(&block[..read])).is_err() => return,
                    Ok(_) => {}
                    Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                    Err(_) => return,
                }
            }
        });
        Mutex::new(blocks)
    })
}

/// Takes it in to its end.
pub(super) async fn run(spec: &StdinReaderSpec, desk: &Desk, queue: &Arc<Queue>) {
    let Ok(mut blocks) = input().try_lock() else {
        desk.note("stdin", Some("another runner on this node reads standard input: it waits until that one is stopped".to_owned()));
        let mut blocks = input().lock().await;
        desk.note("stdin", None);
        return take(spec, desk, queue, &mut blocks).await;
    };
    take(spec, desk, queue, &mut blocks).await;
}

async fn take(spec: &StdinReaderSpec, desk: &Desk, queue: &Queue, blocks: &mut mpsc::Receiver<Bytes>) {
    let mut framer = Framer::lines(spec.line_bytes_max);
    while let Some(block) = blocks.recv().await {
        desk.push(queue, framer.push(&block)).await;
    }
    desk.push(queue, framer.finish().into_iter().collect()).await;
    queue.end();
}

/// Takes a stream in to its end, holding it back where the queue is full.
pub(super) async fn drain(desk: &Desk, queue: &Queue, framer: &mut Framer, stream: &mut (impl AsyncRead + Unpin)) -> std::io::Result<()> {
    let mut block = vec![0; BLOCK_BYTES];
    loop {
        let read = stream.read(&mut block).await?;
        if read == 0 {
            return Ok(());
        }
        desk.push(queue, framer.push(&block[..read])).await;
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::{
        policy::{Policy, PolicyConfig},
        queue::{Cursor, Piece},
        sight::Sight,
    };

    #[tokio::test]
    async fn the_end_of_the_input_ends_the_queue_with_its_last_line() {
        let place = tempfile::tempdir().unwrap();
        let policy = Policy::new(&PolicyConfig::default(), false, Path::new("/nonexistent"));
        let desk = Desk::new(Arc::new(Sight::default()), "queue".parse().unwrap(), Arc::new(policy));
        let queue = desk.open(&place.path().join("r").join("1"), 1 << 20, None).await;
        let (tell, mut blocks) = mpsc::channel(8);
        for block in ["one\ntw", "o\n\nthr", "ee without an end"] {
            tell.send(Bytes::from_static(block.as_bytes())).await.unwrap();
        }
        drop(tell);
        let spec: StdinReaderSpec = serde_json::from_str("{}").unwrap();
        take(&spec, &desk, &queue, &mut blocks).await;
        assert!(queue.has_ended());
        let (mut cursor, mut lines) = (Cursor::default(), vec![]);
        while let Piece::Chunk(chunk) = cursor.next(&queue, 1 << 16).unwrap() {
            lines.extend(chunk.lines.into_iter().map(|line| line.bytes));
        }
        assert_eq!(lines, ["one", "two", "three without an end"]);
    }
}
