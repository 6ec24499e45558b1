import ContainerPlan
import Kernel
import OCISpec
import PodRuntime
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
