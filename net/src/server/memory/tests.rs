//! The memory lent to requests: bounds hold, nobody waits for ever, everything comes back, one connection never has it all.

use std::future::Future;
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, Wake, Waker};

use super::*;

fn core(bounds: [usize; 3], lane: &LargeLane) -> Rc<ReceiveMemory> {
    let [open_bytes_max, body_bytes_max, inflated_bytes_max] = bounds;
    let bounds = MemoryBounds { open_bytes_max, body_bytes_max, inflated_bytes_max, window_bytes_max: 10 };
    ReceiveMemory::new(bounds, lane.clone())
}

fn poll<F: Future + ?Sized>(future: Pin<&mut F>) -> Poll<F::Output> {
    future.poll(&mut Context::from_waker(Waker::noop()))
}

fn request(core: &Rc<ReceiveMemory>) -> RequestMemory {
    RequestMemory::open(core, &Rc::default()).unwrap()
}

#[test]
fn a_body_that_does_not_fit_waits_until_another_ends_and_is_woken() {
    struct Counted(AtomicUsize);
    impl Wake for Counted {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::SeqCst);
        }
    }
    let core = core([1 << 20, 100, 100], &LargeLane::new());
    let (first, second, third) = (request(&core), request(&core), request(&core));
    assert!(poll(pin!(first.admit(50))).is_ready() && poll(pin!(second.admit(40))).is_ready());
    let woken = Arc::new(Counted(AtomicUsize::new(0)));
    let waker = Waker::from(Arc::clone(&woken));
    let mut waiting = pin!(third.admit(30));
    assert!(waiting.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
    assert!(core.bodies.is_awaited());
    // On another thread, as what a request became may be given back on another core. Without the wake in `give_back` the
    // count stays.
    let room = second.take_body();
    std::thread::spawn(move || drop(room)).join().unwrap();
    assert!(woken.0.load(Ordering::SeqCst) > 0);
    assert!(waiting.as_mut().poll(&mut Context::from_waker(&waker)).is_ready());
    assert_eq!(core.bodies.used(), 80);
}

#[test]
fn one_connection_leaves_a_part_to_others_and_comes_after_them() {
    let core = core([1 << 20, 100, 100], &LargeLane::new());
    let greedy: Rc<Holdings> = Rc::default();
    let of_greedy = || RequestMemory::open(&core, &greedy).unwrap();
    let (one, two, three) = (of_greedy(), of_greedy(), of_greedy());
    assert!(poll(pin!(one.admit(40))).is_ready());
    assert!(poll(pin!(two.admit(35))).is_ready(), "up to three quarters");
    let mut more = pin!(three.admit(10));
    assert!(poll(more.as_mut()).is_pending(), "a quarter is for others");
    let modest = request(&core);
    let mut modestly = pin!(modest.admit(25));
    // It came later, and comes first: it holds nothing.
    assert!(poll(modestly.as_mut()).is_ready());
    drop((one, two));
    drop(modest.take_body());
    assert!(poll(more.as_mut()).is_ready());
}

/// Without `turn` in the order all of the greedy ones' requests, which came first, would be served before the modest one.
#[test]
fn connections_take_turns_however_many_requests_each_has_in_the_line() {
    let core = core([1 << 20, 100, 100], &LargeLane::new());
    let greedy: [Rc<Holdings>; 2] = Default::default();
    let requests: Vec<_> = (0..20).map(|number| RequestMemory::open(&core, &greedy[number % 2]).unwrap()).collect();
    let mut waiting: Vec<_> = requests.iter().map(|memory| Box::pin(memory.admit(50))).collect();
    assert!(waiting[..2].iter_mut().all(|admission| poll(admission.as_mut()).is_ready()));
    assert!(waiting[2..].iter_mut().all(|admission| poll(admission.as_mut()).is_pending()));
    let modest = request(&core);
    let mut modestly = pin!(modest.admit(50));
    assert!(poll(modestly.as_mut()).is_pending());
    // Each of the others has one more turn, as it came before.
    for turn in 0..2 {
        drop(requests[turn].take_body());
        assert!(poll(waiting[turn + 2].as_mut()).is_ready() && poll(modestly.as_mut()).is_pending());
    }
    drop(requests[2].take_body());
    assert!(poll(waiting[4].as_mut()).is_pending() && poll(modestly.as_mut()).is_ready());
}

#[test]
fn what_is_too_large_for_a_part_takes_the_lane_which_the_cores_share() {
    let lane = LargeLane::new();
    let (one, two) = (core([1 << 20, 100, 100], &lane), core([1 << 20, 100, 100], &lane));
    let (first, second) = (request(&one), request(&two));
    assert!(poll(pin!(first.admit(1000))).is_ready());
    let mut waiting = pin!(second.admit(1000));
    assert!(poll(waiting.as_mut()).is_pending());
    // Who has the lane needs no other room.
    let Poll::Ready(room) = poll(pin!(first.room(5000))) else { panic!("it has the lane") };
    drop(first);
    assert!(poll(waiting.as_mut()).is_pending(), "what was made of the first is still there");
    drop(room.hold(Bytes::from_static(b"inflated")).slice(1..2));
    assert!(poll(waiting.as_mut()).is_ready());
    assert_eq!(one.bodies.used() + two.bodies.used(), 0);
}

#[test]
fn bodies_that_grow_never_wait_for_one_another_for_ever() {
    let core = core([1 << 20, 100, 100], &LargeLane::new());
    let (one, two) = (request(&core), request(&core));
    assert!(poll(pin!(one.admit(45))).is_ready() && poll(pin!(two.admit(45))).is_ready());
    // Both want as much again and neither ends before it has it. Without the lane in `grow` both would wait.
    assert!(poll(pin!(one.grow(45))).is_ready());
    let mut growing = pin!(two.grow(45));
    assert!(poll(growing.as_mut()).is_pending());
    drop(one);
    assert!(poll(growing.as_mut()).is_ready());
}

#[test]
fn a_wait_that_is_given_up_leaves_no_place_behind() {
    let core = core([1 << 20, 100, 100], &LargeLane::new());
    let (first, second, third) = (request(&core), request(&core), request(&core));
    assert!(poll(pin!(first.admit(50))).is_ready());
    {
        let (other, third) = (request(&core), request(&core));
        assert!(poll(pin!(other.admit(20))).is_ready());
        let mut given_up = pin!(second.admit(50));
        assert!(poll(given_up.as_mut()).is_pending());
        assert!(poll(pin!(third.admit(10))).is_pending(), "nobody overtakes the line");
    }
    assert!(!core.bodies.is_awaited());
    assert!(poll(pin!(third.admit(10))).is_ready());
}

/// Every interleaving that a seeded schedule makes: bodies of known and unknown length, from greedy and modest
/// connections, given up at any moment. Bounds hold, and once all arrive everybody is served.
#[test]
fn in_any_order_bounds_hold_and_all_are_served() {
    for seed in 0..300_u64 {
        let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
        let mut random = move |below: usize| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            usize::try_from(state >> 33).unwrap() % below
        };
        let core = core([64 << 20, 1000, 1000], &LargeLane::new());
        let connections: Vec<Rc<Holdings>> = (0..4).map(|_| Rc::default()).collect();
        type Step = Pin<Box<dyn Future<Output = Option<Room>>>>;
        let mut waiting: Vec<Step> = Vec::new();
        let mut rooms: Vec<Room> = Vec::new();
        let mut served = 0;
        for _ in 0..200 {
            match random(4) {
                0 | 1 => {
                    let memory = RequestMemory::open(&core, &connections[random(4)]).unwrap();
                    let (length, grows, inflated) = (1 + random(700), random(3) == 0, 1 + random(700));
                    waiting.push(Box::pin(async move {
                        memory.admit(if grows { 10 } else { length }).await;
                        if grows {
                            memory.grow(length).await;
                        }
                        let room = memory.room(inflated).await;
                        Some(room)
                    }));
                }
                2 if !waiting.is_empty() => drop(waiting.swap_remove(random(waiting.len()))),
                _ if !rooms.is_empty() => drop(rooms.swap_remove(random(rooms.len()))),
                _ => {}
            }
            waiting.retain_mut(|step| match poll(step.as_mut()) {
                Poll::Ready(room) => {
                    rooms.extend(room);
                    served += 1;
                    false
                }
                Poll::Pending => true,
            });
            assert!(core.bodies.used() <= 1000 && core.inflated.used() <= 1000, "seed {seed}");
        }
        // Nobody new comes, and those who are served end: so do all others. Each round serves at least one.
        for _ in 0..=waiting.len() {
            rooms.clear();
            let before = waiting.len();
            for _ in 0..3 {
                waiting.retain_mut(|step| poll(step.as_mut()).is_pending());
            }
            assert!(waiting.is_empty() || waiting.len() < before, "seed {seed}: nobody goes on");
        }
        assert!(waiting.is_empty() && served > 0, "seed {seed}");
        assert_eq!(core.used(), 0, "seed {seed}");
    }
}

#[test]
fn windows_are_lent_while_they_last_and_come_back() {
    let core = core([1, 1, 1], &LargeLane::new());
    let first = core.windows.take(6).unwrap();
    assert!(core.windows.take(6).is_none());
    drop(first);
    assert!(core.windows.take(10).is_some());
}
