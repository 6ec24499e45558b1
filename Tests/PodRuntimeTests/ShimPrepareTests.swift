import ContainerPlan
import Kernel
import OCISpec
import TestSupport
import Testing

@testable import PodRuntime

/// Containers whose plan begins when they are created: needs root.
@Suite(.serialized) struct ShimPrepareTests {
  private func request(
    _ world: ShimWorld, _ id: String, _ spec: RuntimeSpec
  ) throws -> (start: ContainerStart, group: Cgroup) {
    let plan = try Plan.container(spec, root: .directory(world.root), context: ShimWorld.context)
    var start = ContainerStart(containerID: id, plan: plan)
    let group = try world.cgroup.child(id)
    try group.create()
    start.cgroupDirectory = group.directory
    start.logPath = world.logPath(id)
    try Files.makeDirectories("\(world.directory.path)/pod/containers/\(id)")
    return (start, group)
  }

  @Test func itWaitsForItsStartAndThenRuns() async throws {
    try await ShimWorld.run { world in
      let (start, group) = try request(world, "c1", world.specification("echo hello; exit 7"))
      #expect(try world.shim.prepare(start))
      #expect(try await world.shim.state().map(\.isPrepared) == [true])
      #expect(try group.isPopulated())
      #expect(try world.lines(of: "c1").isEmpty)
      let pid = try await world.shim.startNoting(start, isPrepared: true).processID
      let exit = try await world.exit(of: "c1")
      #expect(exit.status == .exited(7) && pid > 0)
      #expect(try world.lines(of: "c1") == ["stdout F hello"])
      try await world.shim.forget("c1")
    }
  }

  @Test func oneThatIsNeverStartedEndsWhenItIsForgotten() async throws {
    try await ShimWorld.run { world in
      let (start, group) = try request(world, "c1", world.specification("echo hello"))
      #expect(try world.shim.prepare(start))
      try await world.shim.forget("c1")
      #expect(try await world.shim.state().isEmpty)
      #expect(try !group.isPopulated() && group.removeIfEmpty())
      #expect(try world.lines(of: "c1").isEmpty)
    }
  }

  @Test func oneThatEndedBeforeItsStartIsMadeAgain() async throws {
    try await ShimWorld.run { world in
      let (start, group) = try request(world, "c1", world.specification("echo hello"))
      #expect(try world.shim.prepare(start))
      try await world.shim.signal("c1", 9)
      #expect(try group.waitUntilEmpty(milliseconds: 5000))
      _ = try await world.shim.startNoting(start, isPrepared: true)
      #expect(try await world.exit(of: "c1").status == .exited(0))
      #expect(try world.lines(of: "c1") == ["stdout F hello"])
    }
  }

  @Test func aPlanThatFailsIsToldAtTheStartInTheSameWords() async throws {
    try await ShimWorld.run { world in
      var spec = world.specification("true")
      spec.mounts.append(
        RuntimeSpec.Mount(destination: "/data", type: "bind", source: "/no/such/place", options: ["rbind"]))
      let (start, group) = try request(world, "c1", spec)
      #expect(try world.shim.prepare(start))
      do {
        _ = try await world.shim.startNoting(start, isPrepared: true)
        Issue.record("it started")
      } catch let error as ShimError {
        #expect(
          error.description
            == "copy the mount at /no/such/place and those below: ENOENT (2): the host has no /no/such/place")
      }
      #expect(try await world.shim.state().isEmpty)
      #expect(try !group.isPopulated())
    }
  }

  @Test func oneWaitsAndKeepsNothingOfItsSiblings() async throws {
    try await ShimWorld.run { world in
      var reader = try request(world, "c1", world.specification("cat >/dev/null; exit 3")).start
      reader.hasStdin = true
      _ = try await world.shim.start(reader)
      let (waiting, _) = try request(world, "c2", world.specification("true"))
      #expect(try world.shim.prepare(waiting))
      // Were its end of the pipe open in the other one, the first would wait for ever.
      try await world.shim.closeStdin("c1")
      #expect(try await world.exit(of: "c1").status == .exited(3))
      try await world.shim.forget("c2")
    }
  }

  /// The namespace is let go of beside the news of the end; whoever asks to forget it hears when that is done.
  @Test func noMountIsLeftWhenItIsForgotten() async throws {
    try await ShimWorld.run { world in
      for turn in 0..<8 {
        _ = try await world.run("c\(turn)", world.specification("true"))
        // The pod's own, in which its /dev/shm is; each thread may have a table of its own.
        let tasks = "/proc/\(world.shim.processID)/task"
        for task in try Directory(path: tasks).list() {
          let files = "\(tasks)/\(task.name)/fd"
          let links = try Directory(path: files).list().compactMap { try? Files.readLink("\(files)/\($0.name)") }
          #expect(links.count { $0.hasPrefix("mnt:") } <= 1, "\(links)")
        }
      }
    }
  }

  @Test func manyThatWaitAreEndedWithTheirPod() async throws {
    try await ShimWorld.run { world in
      for turn in 0..<5 {
        let start = try request(world, "c\(turn)", world.specification("true")).start
        #expect(try world.shim.prepare(start))
      }
      #expect(try await world.shim.state().count == 5)
    }
  }
}
