import ContainerPlan
import Kernel
import OCISpec
import PodRuntime
import TestSupport
import Testing

/// Volumes as their options say: needs root.
@Suite struct ShimMountTests {
  private static func said(_ lines: [String]) -> [String] { lines.map { $0.replacing("stdout F ", with: "") } }

  /// A directory with another mount below it, on a mount of its own that is shared; gone at the end.
  private static func withMounts(_ world: ShimWorld, _ body: (String) async throws -> Void) async throws {
    let path = "\(world.directory.path)/volume"
    try Files.makeDirectories(path, mode: 0o755)
    try await shell("mount -t tmpfs mt-volume \(path) && mount --make-shared \(path)")
    do {
      try await shell("mkdir \(path)/below && mount -t tmpfs mt-below \(path)/below")
      try await body(path)
    } catch {
      try await shell("umount -R \(path)")
      throw error
    }
    try await shell("umount -R \(path)")
  }

  private static func shell(_ script: String) async throws {
    let outcome = try await ChildProcess.run("/bin/sh", arguments: ["sh", "-c", script])
    struct Failed: Error { let script: String }
    guard outcome.status == .exited(0) else { throw Failed(script: script) }
  }

  @Test(arguments: [("ro", "no yes"), ("rro", "no no"), ("rw", "yes yes")])
  func readOnlyMeansThisMountAndRecursiveReadOnlyAlsoThoseBelow(_ option: String, _ writable: String) async throws {
    try await ShimWorld.run { world in
      try await Self.withMounts(world) { path in
        var spec = world.specification(
          "for d in /v /v/below; do touch $d/x 2>/dev/null && printf 'yes ' || printf 'no '; done; echo")
        spec.mounts.append(.init(destination: "/v", type: "bind", source: path, options: ["rbind", option]))
        let (_, lines) = try await world.run("c1", spec)
        #expect(Self.said(lines) == [writable + " "])
      }
    }
  }

  @Test(arguments: [("rprivate", false), ("rslave", true), ("rshared", true)])
  func aMountThatTheHostMakesLaterIsSeenAsThePropagationSays(_ option: String, _ isSeen: Bool) async throws {
    try await ShimWorld.run { world in
      try await Self.withMounts(world) { path in
        try await Self.shell("mkdir \(path)/later")
        var spec = world.specification("while ! test -e /v/go; do usleep 20000; done; ls /v/later")
        spec.mounts.append(.init(destination: "/v", type: "bind", source: path, options: ["rbind", option]))
        _ = try await world.start("c1", spec)
        try await Self.shell("mount -t tmpfs mt-later \(path)/later && touch \(path)/later/seen && touch \(path)/go")
        _ = try await world.exit(of: "c1")
        #expect(Self.said(try world.lines(of: "c1")) == (isSeen ? ["seen"] : []))
      }
    }
  }

  @Test(arguments: [("rslave", false), ("rshared", true)])
  func aMountThatTheContainerMakesReachesTheHostOnlyWhereItIsShared(_ option: String, _ reaches: Bool) async throws {
    try await ShimWorld.run { world in
      try await Self.withMounts(world) { path in
        var spec = world.specification("mount -t tmpfs none /v/below && touch /v/below/made && echo done; sleep 60")
        spec.mounts.append(.init(destination: "/v", type: "bind", source: path, options: ["rbind", option]))
        spec.process.capabilities = RuntimeSpec.CapabilitySets(all: ["CAP_SYS_ADMIN"])
        _ = try await world.start("c1", spec)
        var said: [String] = []
        for _ in 0..<500 where said != ["done"] {
          try await Task.sleep(for: .milliseconds(10))
          said = Self.said(try world.lines(of: "c1"))
        }
        #expect(said == ["done"])
        #expect(Files.exists("\(path)/below/made") == reaches)
        try await world.shim.kill("c1")
        _ = try await world.exit(of: "c1")
      }
    }
  }

  @Test func aPartOfAnImageIsMountedAndItsLinksStayInside() async throws {
    try await ShimWorld.run { world in
      let layers = ["a", "b"].map { "\(world.directory.path)/layer-\($0)" }
      for layer in layers { try Files.makeDirectories("\(layer)/models/small", mode: 0o755) }
      try Files.writeAtomically("\(layers[0])/models/small/top", [], mode: 0o644)
      try Files.writeAtomically("\(layers[1])/models/small/bottom", [], mode: 0o644)
      // Of the image's, to the host's /etc or its own: its own, which it lacks.
      try Files.symlink("/etc", at: "\(layers[0])/models/out")
      try Files.symlink("/models/small", at: "\(layers[0])/models/link")
      func stack(_ part: String) -> RuntimeSpec.Mount {
        var mount = RuntimeSpec.Mount(
          destination: "/m", type: "overlay", source: "overlay", options: ["ro"] + layers.map { "lowerdir+=\($0)" })
        mount.subPath = part
        return mount
      }
      for part in ["models/small", "models/link"] {
        let text = try await world.output("ls /m; touch /m/x 2>/dev/null || echo read-only") {
          $0.mounts.append(stack(part))
        }
        #expect(text == "bottom\ntop\nread-only")
      }
      var single = RuntimeSpec.Mount(destination: "/m", type: "bind", source: layers[1], options: ["rbind", "ro"])
      single.subPath = "models"
      let one = single
      #expect(
        try await world.output("ls /m; touch /m/x 2>/dev/null || echo read-only") { $0.mounts.append(one) }
          == "small\nread-only")
      for (part, error) in [("models/out", "ENOENT"), ("models/none", "ENOENT")] {
        let failure = await #expect(throws: ShimError.self) {
          try await world.output("true") { $0.mounts.append(stack(part)) }
        }
        #expect(
          failure?.description.hasPrefix("take \(part) of layers: \(error)") == true, "\(String(describing: failure))")
      }
    }
  }
}
