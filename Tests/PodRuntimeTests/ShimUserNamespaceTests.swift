import ContainerPlan
import Kernel
import OCISpec
import PodRuntime
import TestSupport
import Testing

/// Pods whose users are others on the host: needs root, and Linux 6.15 for overlays of mapped layers.
@Suite struct ShimUserNamespaceTests {
  static let mappings = [RuntimeSpec.IDMapping(containerID: 0, hostID: 200_000, size: 65_536)]
  static let users = UserMappings(uids: mappings, gids: mappings)

  /// A pod in a user namespace, and a specification of a container in it.
  static func run(
    withNetwork: Bool = false, _ body: (ShimWorld, UserNamespace) async throws -> Void
  ) async throws {
    let range = [IDRange(inside: 0, outside: 200_000, count: 65_536)]
    let namespace = try UserNamespace.make(uids: range, gids: range, withNetwork: withNetwork)
    try await ShimWorld.run({
      $0.userNamespacePath = namespace.path
      $0.networkNamespacePath = namespace.networkPath
    }) { world in
      // What is above the test's directory is its owner's alone, and a mapped root is not that.
      try Files.chmod(world.directory.path, mode: 0o755)
      try await body(world, namespace)
    }
    withExtendedLifetime(namespace) {}
  }

  static func specification(_ world: ShimWorld, _ script: String) -> RuntimeSpec {
    var spec = world.specification(script)
    spec.linux.namespaces = [RuntimeSpec.Namespace(.user)]
    spec.linux.uidMappings = mappings
    spec.linux.gidMappings = mappings
    return spec
  }

  static func overlay(_ world: ShimWorld) throws -> RootFilesystem {
    let storage = "\(world.directory.path)/layer-\(randomHex(bytes: 4))"
    try Files.makeDirectories("\(storage)/upper", mode: 0o755)
    try Files.makeDirectories("\(storage)/work")
    try Files.chown("\(storage)/upper", user: 200_000, group: 200_000)
    return .overlay(
      lowerDirectories: [world.root], upperDirectory: "\(storage)/upper", workDirectory: "\(storage)/work")
  }

  static func stdout(_ lines: [String]) -> [String] { lines.map { $0.replacing("stdout F ", with: "") } }

  @Test func rootIsRootInsideAndSomebodyElseOutside() async throws {
    try await Self.run { world, _ in
      let script = """
        id -u; awk '{print $1, $2, $3}' /proc/self/uid_map; stat -c '%u:%g' / /bin/busybox /dev /dev/shm /dev/pts
        echo mine > /root/mine && stat -c '%u:%g' /root/mine; mkdir /dev/new && echo made; cat /dev/null && echo null
        echo x > /dev/stdout; hostname
        """
      let root = try Self.overlay(world)
      let (exit, lines) = try await world.run("c1", Self.specification(world, script), root: root)
      #expect(exit.status == .exited(0))
      // The pod's shared memory is everybody's, and nobody's.
      #expect(
        Self.stdout(lines) == [
          "0", "0 200000 65536", "0:0", "0:0", "0:0", "65534:65534", "65534:65534", "0:0", "made", "null", "x",
          "pod-host",
        ], "\(lines)")
      guard case .overlay(_, let upper, _) = root else { return }
      let file = try #require(try Files.status("\(upper)/root/mine"))
      #expect(file.owner == 200_000 && file.group == 200_000)
    }
  }

  @Test func aBundlesDirectoryIsMappedAsWell() async throws {
    try await Self.run { world, _ in
      var spec = Self.specification(world, "id -u; id -G; stat -c %u /bin/busybox; echo > /tmp/made")
      spec.process.user = RuntimeSpec.User(uid: 1000, gid: 1001, additionalGroups: [1001, 7])
      let (exit, lines) = try await world.run("c1", spec)
      #expect(exit.status == .exited(0))
      #expect(Self.stdout(lines) == ["1000", "1001 7", "0"])
      // As the image has it on disk: ids of the container's own.
      #expect(try Files.status("\(world.root)/tmp/made")?.owner == 1000)
    }
  }

  @Test func thePodsNamespacesBelongToItSoThatItsCapabilitiesCount() async throws {
    try await Self.run(withNetwork: true) { world, _ in
      var spec = Self.specification(
        world, "hostname other && hostname; mount -t tmpfs none /tmp && echo mounted; umount /proc/kcore || echo locked"
      )
      spec.process.capabilities = RuntimeSpec.CapabilitySets(all: ["CAP_SYS_ADMIN", "CAP_NET_ADMIN"])
      let (exit, lines) = try await world.run("c1", spec, root: try Self.overlay(world))
      #expect(exit.status == .exited(0))
      let said = Self.stdout(lines)
      #expect(said.contains("other") && said.contains("mounted"), "\(lines)")
      // What its maker covered stays covered.
      #expect(said.contains("locked"), "\(lines)")
    }
  }

  @Test func anExecIsInTheSameNamespaces() async throws {
    try await Self.run { world, _ in
      let spec = Self.specification(world, "sleep 60")
      _ = try await world.start("c1", spec, root: try Self.overlay(world))
      var process = spec.process
      process.arguments = [
        "/bin/sh", "-c", "readlink /proc/1/ns/user; readlink /proc/self/ns/user; id -u; cat /proc/self/uid_map",
      ]
      process.resourceLimits = [.init(type: "RLIMIT_NOFILE", soft: 64, hard: 4096)]
      let output = try await world.shim.execCapturing(
        "c1", plan: try Plan.exec(process, seccompProgram: nil, users: Self.users))
      let lines = String(decoding: output.output, as: UTF8.self).split(separator: "\n").map(String.init)
      #expect(output.exit.status == .exited(0), "\(String(decoding: output.errorOutput, as: UTF8.self))")
      try #require(lines.count == 4, "\(lines)")
      #expect(lines[0] == lines[1] && lines[2] == "0", "\(lines)")
      #expect(lines[3].split(separator: " ") == ["0", "200000", "65536"])
    }
  }

  @Test func aTerminalBelongsToTheContainersUser() async throws {
    try await Self.run { world, _ in
      var spec = Self.specification(world, "stat -c %u $(tty); test -w /dev/console && echo writable")
      spec.process.terminal = true
      spec.process.user = RuntimeSpec.User(uid: 1000, gid: 1000)
      let (exit, lines) = try await world.run("c1", spec, root: try Self.overlay(world))
      #expect(exit.status == .exited(0))
      #expect(Self.stdout(lines).map { $0.filter { $0 != "\r" && $0 != "\r\n" } } == ["1000", "writable"], "\(lines)")
    }
  }

  @Test func aVolumeWithMappedIDsKeepsThemOnDisk() async throws {
    try await Self.run { world, _ in
      let volume = "\(world.directory.path)/volume"
      try Files.makeDirectories(volume, mode: 0o755)
      var spec = Self.specification(
        world, "stat -c %u /data; echo > /data/by-root; stat -c %u /data/by-root; ls /plain")
      spec.mounts += [
        .init(destination: "/data", type: "bind", source: volume, options: ["rbind", "idmap"]),
        .init(destination: "/plain", type: "bind", source: volume, options: ["rbind"]),
      ]
      let (exit, lines) = try await world.run("c1", spec, root: try Self.overlay(world))
      #expect(exit.status == .exited(0))
      #expect(Self.stdout(lines) == ["0", "0", "by-root"], "\(lines)")
      #expect(try Files.status("\(volume)/by-root")?.owner == 0)
    }
  }

  @Test func aFileSystemThatCannotBeMappedIsNamed() async throws {
    try await Self.run { world, _ in
      var spec = Self.specification(world, "true")
      spec.mounts.append(.init(destination: "/data", type: "bind", source: "/proc/bus", options: ["bind", "idmap"]))
      let error = await #expect(throws: ShimError.self) {
        try await world.run("c1", spec, root: try Self.overlay(world))
      }
      let text = error?.description ?? ""
      #expect(
        text.hasPrefix("map ids of /proc/bus, as the pod's user namespace: EINVAL (22): the file system of /proc/bus"))
    }
  }
}
