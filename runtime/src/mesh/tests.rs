//! The mesh on both backends: order, fairness, waiting senders, cancelled senders.

use std::rc::Rc;

use super::{Mesh, MeshPort, PortNumber};
use crate::Backend;
use crate::executor::{ExecutorHandle, ExecutorOptions, spawn, start, yield_now};

const BACKENDS: [Backend; 2] = [Backend::Uring, Backend::Epoll];

fn run<F, T>(backend: Backend, make: impl FnOnce() -> F + Send + 'static) -> ExecutorHandle<T>
where
    F: Future<Output = T> + 'static,
    T: Send + 'static,
{
    start(ExecutorOptions { name: "mesh".to_owned(), core: None, backend }, make).unwrap()
}

#[test]
fn full_ring_refuses_and_gives_the_message_back() {
    let ports = Mesh::<u32>::new(2, 2);
    assert_eq!(ports[0].try_send(PortNumber(1), 1), Ok(()));
    assert_eq!(ports[0].try_send(PortNumber(1), 2), Ok(()));
    assert_eq!(ports[0].len_to(PortNumber(1)), 2);
    assert_eq!(ports[0].try_send(PortNumber(1), 3), Err(3));
    assert_eq!(ports[0].try_send(PortNumber(9), 4), Err(4));
    assert_eq!(ports[1].try_receive(), Some(1));
    assert_eq!(ports[0].len_to(PortNumber(1)), 1);
    assert_eq!(ports[0].try_send(PortNumber(1), 3), Ok(()));
    assert_eq!([ports[1].try_receive(), ports[1].try_receive(), ports[1].try_receive()], [Some(2), Some(3), None]);
}

#[test]
fn peers_take_turns() {
    let ports = Mesh::new(3, 8);
    for _ in 0..4 {
        for port in &ports {
            port.try_send(PortNumber(0), port.number()).unwrap();
        }
    }
    let order: Vec<usize> = std::iter::from_fn(|| ports[0].try_receive()).map(|number| number.0).collect();
    assert_eq!(order, [0, 1, 2, 0, 1, 2, 0, 1, 2, 0, 1, 2]);
}

/// Sends `count` numbers to every port from one task each, and receives what all send here.
async fn exchange(port: MeshPort<(PortNumber, u64)>, count: u64) -> Vec<Vec<u64>> {
    let port = Rc::new(port);
    let (done, all_done) = async_channel::bounded::<()>(1);
    for to in port.ports() {
        let (port, done) = (Rc::clone(&port), done.clone());
        spawn(async move {
            for number in 0..count {
                port.send(to, (port.number(), number)).await;
            }
            drop(done);
        });
    }
    drop(done);
    let mut received = vec![Vec::new(); port.ports().len()];
    for _ in 0..count * port.ports().len() as u64 {
        let (from, number) = port.receive().await;
        received[from.0].push(number);
    }
    // The senders end with the executor, so it stays until they are through.
    let _closed = all_done.recv().await;
    received
}

#[test]
fn every_message_arrives_once_and_in_order_across_backends() {
    const COUNT: u64 = 20_000;
    // A ring of 3 makes senders and receivers wait all the time; the two backends wake each other.
    let cores: Vec<_> = Mesh::new(3, 3)
        .into_iter()
        .zip([Backend::Uring, Backend::Epoll, Backend::Uring])
        .map(|(port, backend)| run(backend, move || exchange(port, COUNT)))
        .collect();
    let expected: Vec<u64> = (0..COUNT).collect();
    for core in cores {
        for from_one in core.join().unwrap() {
            assert_eq!(from_one, expected);
        }
    }
}

#[test]
fn many_waiting_senders_all_get_their_turn_even_when_some_give_up() {
    for backend in BACKENDS {
        let received = run(backend, || async {
            let mut ports = Mesh::<u32>::new(1, 1);
            let port = Rc::new(ports.remove(0));
            port.try_send(PortNumber(0), 1000).unwrap();
            for number in 0..50 {
                let port = Rc::clone(&port);
                spawn(async move {
                    if number % 3 == 0 {
                        // Polled once so that it stands in line, then dropped: `leave` must wake the next one.
                        let mut given_up = std::pin::pin!(port.send(PortNumber(0), 2000));
                        std::future::poll_fn(|context| {
                            let _pending = given_up.as_mut().poll(context);
                            std::task::Poll::Ready(())
                        })
                        .await;
                        yield_now().await;
                    } else {
                        port.send(PortNumber(0), number).await;
                    }
                });
            }
            for _ in 0..3 {
                yield_now().await;
            }
            let mut received = Vec::new();
            for _ in 0..34 {
                received.push(port.receive().await);
            }
            assert_eq!(port.try_receive(), None);
            received
        });
        let mut received = received.join().unwrap();
        assert_eq!(received.remove(0), 1000);
        assert_eq!(received, (0..50).filter(|number| number % 3 != 0).collect::<Vec<_>>(), "{backend}");
    }
}
