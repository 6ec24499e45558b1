import KubeClient
import Synchronization
import Testing

@Suite struct WorkQueueTests {
  private struct Failure: Error {}

  private func queue(_ clock: ManualClock, keysMax: Int = 1000) -> WorkQueue<String> {
    var limits = WorkQueue<String>.Limits()
    limits.keysMax = keysMax
    return WorkQueue(name: "test", limits: limits, clock: clock.clock, logger: silent)
  }

  @Test func aKeyIsHeldOnce() async {
    let queue = queue(ManualClock())
    for key in ["a", "b", "a", "a"] { queue.add(key) }
    #expect(queue.counts.ready == 2)
    #expect(await queue.next() == "a")
    #expect(await queue.next() == "b")
  }

  @Test func aKeyThatIsWorkedOnComesAgainOnlyWhenDone() async {
    let queue = queue(ManualClock())
    queue.add("a")
    #expect(await queue.next() == "a")
    queue.add("a")
    queue.add("a")
    #expect(queue.counts.ready == 0)
    queue.done("a")
    #expect(queue.counts.ready == 1)
    #expect(await queue.next() == "a")
    queue.done("a")
    #expect(queue.counts.ready == 0)
    #expect(queue.counts.processing == 0)
  }

  @Test func aDelayedKeyComesWhenItsTimeHasCome() async throws {
    let clock = ManualClock()
    let queue = queue(clock)
    let (keys, sink) = AsyncStream.makeStream(of: String.self)
    try await with({
      try await queue.run(workers: 2) { key in
        sink.yield(key)
        return .done
      }
    }) {
      var seen = keys.makeAsyncIterator()
      queue.add("late", after: .seconds(10))
      queue.add("soon", after: .seconds(20))
      queue.add("soon", after: .seconds(5))
      queue.add("soon", after: .seconds(7))
      while clock.nextDeadline != .seconds(5) { await Task.yield() }
      clock.advance(by: .seconds(5))
      #expect(await seen.next() == "soon")
      while clock.nextDeadline != .seconds(10) { await Task.yield() }
      clock.advance(by: .seconds(5))
      #expect(await seen.next() == "late")
      // The replaced timers of "soon" do not fire.
      clock.advance(by: .seconds(100))
      queue.add("end")
      #expect(await seen.next() == "end")
    }
  }

  @Test func failuresDoubleTheDelayUpToItsLimit() async throws {
    let clock = ManualClock()
    let queue = queue(clock)
    let (keys, sink) = AsyncStream.makeStream(of: String.self)
    let mayPass = Mutex(false)
    try await with({
      try await queue.run { key in
        sink.yield(key)
        if mayPass.withLock({ $0 }) { return .done }
        throw Failure()
      }
    }) {
      var seen = keys.makeAsyncIterator()
      queue.add("a")
      var delays: [Duration] = []
      for round in 0..<22 {
        #expect(await seen.next() == "a")
        while queue.counts.delayed == 0 || clock.nextDeadline == nil { await Task.yield() }
        let delay = (clock.nextDeadline ?? .zero) - clock.clock.now()
        delays.append(delay)
        if round == 20 { mayPass.withLock { $0 = true } }
        if round == 21 { break }
        clock.advance(by: delay)
        if round == 20 { break }
      }
      #expect(await seen.next() == "a")
      #expect(delays.prefix(4) == [.milliseconds(5), .milliseconds(10), .milliseconds(20), .milliseconds(40)])
      #expect(delays.last == .seconds(1000))
      while queue.failures(of: "a") > 0 { await Task.yield() }
    }
  }

  @Test func whatAsksToComeLaterIsNoFailure() async throws {
    let clock = ManualClock()
    let queue = queue(clock)
    let (keys, sink) = AsyncStream.makeStream(of: String.self)
    try await with({
      try await queue.run { key in
        sink.yield(key)
        return .after(.seconds(30))
      }
    }) {
      var seen = keys.makeAsyncIterator()
      queue.add("a")
      for _ in 0..<3 {
        #expect(await seen.next() == "a")
        while clock.nextDeadline == nil { await Task.yield() }
        #expect(queue.failures(of: "a") == 0)
        clock.advance(by: .seconds(30))
      }
    }
  }

  @Test func theQueueIsBounded() {
    let queue = queue(ManualClock(), keysMax: 3)
    for key in ["a", "b", "c", "d", "a"] { queue.add(key) }
    queue.add("e", after: .seconds(1))
    #expect(queue.counts.ready == 3)
    #expect(queue.counts.delayed == 0)
  }

  @Test func cancellationEndsWorkersAndTheirWork() async throws {
    let queue = queue(ManualClock())
    let (began, sink) = AsyncStream.makeStream(of: Void.self)
    let task = Task {
      try await queue.run(workers: 3) { _ in
        sink.yield()
        try await Task.sleep(for: .seconds(60))
        return .done
      }
    }
    queue.add("a")
    for await _ in began { break }
    task.cancel()
    await #expect(throws: CancellationError.self) { try await task.value }
  }

  @Test(arguments: 0..<20) func noKeyIsLostOrWorkedOnTwiceAtATime(_ seed: Int) async throws {
    let queue = WorkQueue<Int>(name: "test", logger: silent)
    let world = Mutex((working: Set<Int>(), wanted: [Int: Int](), seen: [Int: Int](), overlaps: 0))
    let target = 2000
    let (finished, finish) = AsyncStream.makeStream(of: Void.self)
    try await with({
      try await queue.run(workers: 8) { key in
        // What is wanted now is what this work does: anything wanted later must bring the key again.
        let wanted = world.withLock { world -> Int in
          if !world.working.insert(key).inserted { world.overlaps += 1 }
          return world.wanted[key] ?? 0
        }
        await Task.yield()
        let isFinished = world.withLock { world -> Bool in
          world.working.remove(key)
          world.seen[key] = wanted
          return world.wanted[-1] != nil && world.wanted.allSatisfy { $0.key == -1 || world.seen[$0.key] == $0.value }
        }
        if isFinished { finish.yield() }
        return .done
      }
    }) {
      var dice = Dice(seed: seed)
      for step in 1...target {
        let key = Int.random(in: 0..<20, using: &dice)
        world.withLock { $0.wanted[key] = step }
        if dice.chance(20) { queue.add(key, after: .microseconds(200)) } else { queue.add(key) }
        if dice.chance(10) { await Task.yield() }
      }
      world.withLock { $0.wanted[-1] = 0 }
      queue.add(0)
      for await _ in finished { break }
      #expect(world.withLock { $0.overlaps } == 0)
    }
  }
}
