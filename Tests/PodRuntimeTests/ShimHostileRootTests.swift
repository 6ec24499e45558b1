import ContainerPlan
import Kernel
import OCISpec
import PodRuntime
import TestSupport
import Testing

/// Images whose author put links where a runtime mounts, masks and makes nodes: needs root.
@Suite struct ShimHostileRootTests {
  /// CVE-2025-31133: what covers masked paths is the node's verified null device, whatever the image has at that name.
  @Test func aLinkInPlaceOfTheImagesNullDeviceCoversAndReachesNothing() async throws {
    try await ShimWorld.run { world in
      try Files.symlink("/etc/passwd", at: "\(world.root)/dev/null")
      let passwd = try Files.read("\(world.root)/etc/passwd")
      // Kernels have some of the masked files or others.
      let masked = ["kcore", "timer_list"].map { "/proc/\($0)" }.filter(Files.exists)
      try #require(!masked.isEmpty)
      let paths = ["/dev/null"] + masked
      let seen = try await world.output("stat -c '%F %t:%T' \(paths.joined(separator: " ")); echo x >/dev/null")
      #expect(seen == paths.map { _ in "character special file 1:3" }.joined(separator: "\n"), "\(seen)")
      #expect(try Files.read("\(world.root)/etc/passwd") == passwd)
    }
  }

  /// The same where no /dev is mounted over the image's: the node would be made in the image's own directory.
  @Test func aNodeIsNotMadeThroughALink() async throws {
    try await ShimWorld.run { world in
      try Files.symlink("../etc/new", at: "\(world.root)/dev/null")
      var spec = world.specification("true")
      spec.mounts.removeAll { $0.destination.hasPrefix("/dev") }
      await #expect(throws: (any Error).self) { try await world.start("c1", spec) }
      #expect(!Files.exists("\(world.root)/etc/new"))
      #expect(try Files.status("\(world.root)/dev/null")?.kind == .symlink)
    }
  }

  @Test(arguments: ["dev", "proc", "sys"], ["/outside", "../../outside", "self"])
  func aLinkInPlaceOfWhatTheKernelsFileSystemsAreMountedOnIsRefused(name: String, target: String) async throws {
    try await ShimWorld.run { world in
      let outside = "\(world.directory.path)/outside"
      try Files.makeDirectories(outside)
      try Files.removeTree("\(world.root)/\(name)")
      let link = target == "self" ? name : target == "/outside" ? outside : target
      try Files.symlink(link, at: "\(world.root)/\(name)")
      do {
        _ = try await world.start("c1", world.specification("true"))
        Issue.record("it ran")
      } catch {
        #expect("\(error)".contains("/\(name)") && "\(error)".contains("ELOOP"), "\(error)")
      }
      #expect(try Directory(path: outside).list().isEmpty)
      #expect(!Files.exists("\(world.root)\(outside)"))
    }
  }

  /// The pod's files go where the image's links lead inside the image, and nowhere else.
  @Test(arguments: ["/outside", "../../../outside", "/nowhere/outside", "../nowhere/outside"])
  func aLinkInPlaceOfEtcKeepsThePodsFilesInside(target: String) async throws {
    try await ShimWorld.run { world in
      let outside = "\(world.directory.path)/outside"
      try Files.makeDirectories(outside)
      try Files.writeAtomically("\(world.directory.path)/hosts", Array("127.0.0.1 here\n".utf8), mode: 0o644)
      try Files.removeTree("\(world.root)/etc")
      try Files.makeDirectories("\(world.root)/outside", mode: 0o755)
      try Files.symlink(target, at: "\(world.root)/etc")
      var context = ShimWorld.context
      context.files = [
        SandboxContext.PodFile(
          hostPath: "\(world.directory.path)/hosts", containerPath: "/etc/hosts", isReadOnly: true)
      ]
      let (exit, lines) = try await world.run(
        "c1", world.specification("cat /etc/hosts; ls \(target.contains("nowhere") ? "/nowhere" : "")/outside"),
        context: context)
      #expect(exit.status == .exited(0) && lines == ["stdout F 127.0.0.1 here", "stdout F hosts"], "\(lines)")
      #expect(try Directory(path: outside).list().isEmpty)
    }
  }
}
