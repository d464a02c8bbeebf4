//! A glommio executor whose core is fought over still answers. What this guards against (see `executor/heartbeat`) is a
//! matter of luck: without the heartbeat it hangs once in some minutes, or at once with a preemption interval of 20 us.
#![allow(missing_docs, clippy::unwrap_used)]

use std::io::{Read, Write};
use std::net::TcpStream as StdTcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use tailwater_runtime::Backend;
use tailwater_runtime::affinity::{allowed_cores, pin_current_thread};
use tailwater_runtime::executor::{ExecutorOptions, spawn, start};
use tailwater_runtime::net::{SharedPort, TcpListener, TcpStream};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

#[test]
fn a_runnable_task_is_not_slept_over() {
    let core = allowed_cores()[0];
    let stop = Arc::new(AtomicBool::new(false));
    let rivals: Vec<_> = (0..3)
        .map(|_| {
            let stop = Arc::clone(&stop);
            thread::spawn(move || {
                pin_current_thread(core).unwrap();
                while !stop.load(Ordering::Relaxed) {
                    std::hint::spin_loop();
                }
            })
        })
        .collect();
    let (address, bound) = async_channel::bounded(1);
    let options = ExecutorOptions { name: "stall".to_owned(), core: Some(core), backend: Backend::Uring };
    let server = start(options, move || async move {
        let listener = TcpListener::bind(([127, 0, 0, 1], 0).into(), SharedPort::No).unwrap();
        address.send(listener.local_addr()).await.unwrap();
        let mut stream = TcpStream::adopt(listener.accept().await.unwrap().stream).unwrap();
        let (tell, told) = async_channel::bounded::<u8>(1);
        let (answer, answered) = async_channel::bounded::<u8>(1);
        // Two tasks, so that each round needs the executor's own scheduling too.
        spawn(async move {
            while let Ok(byte) = told.recv().await {
                answer.send(byte).await.unwrap();
            }
        });
        let mut byte = [0];
        while stream.read(&mut byte).await.unwrap() == 1 {
            tell.send(byte[0]).await.unwrap();
            stream.write_all(&[answered.recv().await.unwrap()]).await.unwrap();
        }
    })
    .unwrap();
    let mut client = StdTcpStream::connect(bound.recv_blocking().unwrap()).unwrap();
    client.set_nodelay(true).unwrap();
    client.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_secs(1) {
        client.write_all(b"x").unwrap();
        // Fails if the server has slept over its task for 5 s.
        client.read_exact(&mut [0]).unwrap();
    }
    drop(client);
    server.join().unwrap();
    stop.store(true, Ordering::Relaxed);
    rivals.into_iter().for_each(|rival| rival.join().unwrap());
}
