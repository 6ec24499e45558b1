import Testing

@testable import PodRuntime

@Suite struct LifecycleSimulationTests {
  private static let names = ["a", "b", "c"]

  private func live(_ world: inout LifecycleWorld, _ draw: inout Draw, steps: Int, crashes: Bool) {
    for _ in 0..<steps {
      let id = Self.names.randomElement(using: &draw) ?? "a"
      switch Int.random(in: 0..<100, using: &draw) {
      case 0..<40: world.step(&draw)
      case 40..<52: world.create(id)
      case 52..<64: world.start(id)
      case 64..<70:
        if world.containers[id] != nil { world.askedToStop.insert(id) }
        world.apply(.stopRequested(graceMilliseconds: draw.chance(50) ? 0 : 10_000), to: id)
      case 70..<74:
        if world.containers[id] != nil { world.askedToStop.insert(id) }
        world.apply(.removeRequested, to: id)
      case 74..<82: world.end(id, code: Int32.random(in: 0..<3, using: &draw))
      case 82..<84: world.killShim()
      case 84..<86:
        world.askedToStop.formUnion(world.containers.keys)
        world.apply(.stopRequested)
      case 86..<87:
        world.askedToStop.formUnion(world.containers.keys)
        world.apply(.removeRequested)
      case 87..<89: world.failuresLeft = 1
      default:
        guard crashes && world.isUp else { continue }
        let running = world.processes.filter { $0.value.alive }
        world.killDaemon()
        // Containers end while nobody looks.
        if draw.chance(30) { world.end(id, code: 5) }
        let stillRunning = world.processes.filter { $0.value.alive }
        world.restartDaemon()
        if stillRunning.count > running.count { world.violate("a crash started something") }
      }
    }
  }

  /// A removal repeated until it succeeds, as clients do.
  private func remove(_ world: inout LifecycleWorld, _ draw: inout Draw) {
    for _ in 0..<5 {
      world.askedToStop.formUnion(world.processes.keys)
      world.apply(.removeRequested)
      world.settle(&draw)
      if world.sandbox == nil { return }
    }
  }

  @Test(arguments: 0..<400) func goneMeansGoneWhateverHappensInWhateverOrder(seed: Int) {
    var draw = Draw(seed: UInt64(seed))
    var world = LifecycleWorld()
    world.makeSandbox(fails: draw.chance(10))
    live(&world, &draw, steps: Int.random(in: 0..<150, using: &draw), crashes: true)
    remove(&world, &draw)
    #expect(world.violations == [], "seed \(seed)")
    #expect(world.sandbox == nil, "seed \(seed): \(String(describing: world.sandbox))")
    #expect(world.remains == [], "seed \(seed)")
  }

  @Test(arguments: 0..<200) func anExitCodeOnceProducedIsKept(seed: Int) {
    var draw = Draw(seed: UInt64(seed) &+ 10_000)
    var world = LifecycleWorld()
    world.makeSandbox(fails: false)
    world.settle(&draw)
    world.create("a")
    world.start("a")
    world.settle(&draw)
    let code = Int32.random(in: 0..<100, using: &draw)
    let before = draw.chance(50)
    if before { world.end("a", code: code) }
    for _ in 0..<Int.random(in: 0..<3, using: &draw) { world.step(&draw) }
    world.killDaemon()
    if !before { world.end("a", code: code) }
    world.restartDaemon()
    world.settle(&draw)
    #expect(world.containers["a"]?.phase == .exited(LifecycleWorld.exit(code)), "seed \(seed)")
  }

  @Test(arguments: 0..<200) func aCrashIsNotNoticedByWhatRuns(seed: Int) {
    var draw = Draw(seed: UInt64(seed) &+ 20_000)
    var world = LifecycleWorld()
    world.makeSandbox(fails: false)
    world.settle(&draw)
    for id in Self.names {
      world.create(id)
      world.start(id)
    }
    // Killed with any part of the starts done.
    for _ in 0..<Int.random(in: 0..<8, using: &draw) { world.step(&draw) }
    let running = world.processes
    world.killDaemon()
    world.restartDaemon()
    world.settle(&draw)
    #expect(world.processes == running, "seed \(seed)")
    for (id, process) in running where process.alive {
      #expect(world.containers[id]?.phase == .running(pid: 7), "seed \(seed)")
    }
    #expect(world.violations == [], "seed \(seed)")
  }

  @Test func aStopThatIsIgnoredEndsInAKill() {
    var machine = ContainerMachine(phase: .running(pid: 7))
    #expect(machine.handle(.stopRequested(graceMilliseconds: 30_000)) == [.signal, .armGrace(milliseconds: 30_000)])
    #expect(machine.handle(.stopRequested(graceMilliseconds: 5)) == [.armGrace(milliseconds: 5)])
    #expect(machine.handle(.graceElapsed) == [.kill, .armKill])
    #expect(machine.handle(.graceElapsed) == [])
    #expect(machine.handle(.killElapsed) == [])
    #expect(machine.stopping == .stuck)
    #expect(machine.handle(.stopRequested(graceMilliseconds: 0)) == [.kill, .armKill], "asking again tries again")
  }

  @Test func aStopDuringTheStartTakesEffectOnceItRuns() {
    var machine = ContainerMachine()
    #expect(machine.handle(.startRequested) == [.launch])
    #expect(machine.handle(.stopRequested(graceMilliseconds: 0)) == [])
    #expect(machine.handle(.started(pid: 7)) == [.save, .announceStarted, .kill, .armKill])
  }

  @Test func removingWhatRunsKillsItFirst() {
    var machine = ContainerMachine(phase: .running(pid: 7))
    #expect(machine.handle(.removeRequested) == [.kill, .armKill])
    let exit = LifecycleWorld.exit(137)
    #expect(machine.handle(.exited(exit)) == [.save, .announceExited, .erase])
    #expect(machine.handle(.erased) == [.announceRemoved])
    #expect(machine.phase == .removed)
  }

  @Test func aRequestThatIsWithdrawnWhileThePodIsMadeLeavesNothing() {
    var machine = SandboxMachine()
    #expect(machine.handle(.removeRequested) == [])
    #expect(machine.handle(.made) == [.save, .takeDown(.containers)])
    #expect(machine.handle(.down(.containers)) == [.takeDown(.shim), .takeDown(.network)])
    #expect(machine.handle(.down(.network)) == [])
    #expect(machine.handle(.down(.shim)) == [.takeDown(.cgroup)])
    #expect(machine.handle(.down(.cgroup)) == [.save, .announceStopped, .erase])
    #expect(machine.handle(.erased) == [.announceRemoved])
  }

  @Test func whatFailedToComeDownIsTriedAgain() {
    var machine = SandboxMachine(phase: .ready)
    #expect(machine.handle(.stopRequested) == [.takeDown(.containers)])
    _ = machine.handle(.down(.containers))
    #expect(machine.handle(.downFailed(.network, reason: "EBUSY")) == [])
    #expect(machine.handle(.down(.shim)) == [.takeDown(.cgroup)])
    #expect(machine.handle(.down(.cgroup)) == [.save])
    #expect(machine.phase == .notReady(reason: "network: EBUSY"))
    #expect(machine.handle(.stopRequested) == [.takeDown(.containers)])
  }
}
