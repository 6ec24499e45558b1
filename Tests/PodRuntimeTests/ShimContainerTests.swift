import ContainerPlan
import Kernel
import OCISpec
@testable import PodRuntime
import TestSupport
import Testing

@Suite(.serialized) struct ShimContainerTests {
  @Test func aContainerRunsAndItsExitCodeAndOutputComeBack() async throws {
    try await ShimWorld.run { world in
      let (exit, lines) = try await world.run("c1", world.specification("echo hello; echo oops >&2; exit 7"))
      #expect(exit.status == .exited(7))
      #expect(lines == ["stdout F hello", "stderr F oops"])
      let file = String(
        decoding: try Files.read("\(world.directory.path)/pod/containers/c1/exit"), as: UTF8.self)
      #expect(file.contains("\"exitCode\":7") && file.contains("\"signal\":0"))
    }
  }

  @Test func aScoreThatTheKernelRefusesIsSaidToBeRefused() async throws {
    try await ShimWorld.run { world in
      var spec = world.specification("sleep 60")
      spec.process.oomScoreAdjust = -1000
      let plan = try Plan.container(spec, root: .directory(world.root), context: ShimWorld.context)
      let started = try await world.shim.startNoting(ContainerStart(containerID: "c1", plan: plan))
      let score = try Files.readText("/proc/\(started.processID)/oom_score_adj")
      // CAP_SYS_RESOURCE is 24: with it nothing is refused.
      let capabilities = try Files.readText("/proc/self/status")?.split(separator: "\n").first {
        $0.hasPrefix("CapEff:")
      }
      let mask = try #require(capabilities.flatMap { UInt64($0.split(separator: "\t")[1], radix: 16) })
      #expect(started.scoreWasRefused == (mask >> 24 & 1 == 0))
      #expect((score == "-1000\n") == !started.scoreWasRefused)
      try await world.shim.kill("c1")
      _ = try await world.exit(of: "c1")
    }
  }

  @Test func aSignalThatEndsItIsToldApartFromAnExitCode() async throws {
    try await ShimWorld.run { world in
      _ = try await world.start("c1", world.specification("exec sleep 60"))
      try await world.shim.signal("c1", 9)
      #expect(try await world.exit(of: "c1").status == .signalled(9))
    }
  }

  @Test func aStepThatFailsIsNamedWithItsErrorAndNothingIsLeft() async throws {
    try await ShimWorld.run { world in
      var spec = world.specification("true")
      spec.mounts.append(
        RuntimeSpec.Mount(destination: "/data", type: "bind", source: "/no/such/place", options: ["rbind"]))
      await #expect(throws: ShimError.self) { _ = try await world.start("c1", spec) }
      do {
        _ = try await world.start("c1", spec)
      } catch let error as ShimError {
        #expect(
          error.description
            == "copy the mount at /no/such/place and those below: ENOENT (2): the host has no /no/such/place")
      }
      #expect(try await world.shim.state().isEmpty)
      #expect(try world.cgroup.child("c1").isPopulated() == false)
    }
  }

  @Test func aProgramThatIsMissingIsSaidToBeMissing() async throws {
    try await ShimWorld.run { world in
      var spec = world.specification("")
      spec.process.arguments = ["no-such-program"]
      do {
        _ = try await world.start("c1", spec)
        Issue.record("it started")
      } catch let error as ShimError {
        #expect(
          error.description
            == "execute no-such-program: ENOENT (2): there is no such file in the container, or its interpreter or loader is missing"
        )
      }
      try Files.writeAtomically("\(world.root)/bin/plain", Array("text".utf8), mode: 0o644)
      spec.process.arguments = ["plain"]
      do {
        _ = try await world.start("c2", spec)
        Issue.record("it started")
      } catch let error as ShimError {
        #expect(error.description.hasPrefix("execute plain: EACCES (13)"))
      }
    }
  }
}
