import Kernel
import TestSupport
import Testing

@testable import Systemd

/// A bus that checks what it is sent and makes the groups, beside systemd's own answers to what goes wrong.
@Suite struct SystemdScopesTests {
  private final class World: Sendable {
    let directory: TestDirectory
    let bus: ChildProcess
    let hierarchy: CgroupHierarchy
    /// Stands for the root of what systemd owns.
    let root: Cgroup
    let slice = "mt-pod.slice"

    static func make(_ behaviour: String) async throws -> World {
      let directory = try TestDirectory()
      let hierarchy = try CgroupHierarchy.discover()
      let root = hierarchy.group(try CgroupPath(directory.token))
      try root.create()
      var ready = try Pipe()
      let input = ready.takeReadEnd()
      let output = ready.takeWriteEnd()
      let program = Files.parent(of: #filePath) + "/../Guest/systemd-bus"
      let bus = try ChildProcess.start(
        "/usr/bin/python3",
        arguments: [
          "python3", program, "\(directory.path)/bus", root.directory, "\(directory.path)/log", behaviour,
        ], environment: ["PATH=/usr/bin:/bin"], stdio: [nil, output.withRaw { $0 }, nil])
      try output.close()
      let world = World(directory, bus, hierarchy, root)
      #expect(try input.read(upTo: 16) == Array("ready\n".utf8))
      return world
    }

    private init(
      _ directory: TestDirectory, _ bus: consuming ChildProcess, _ hierarchy: CgroupHierarchy, _ root: Cgroup
    ) {
      self.directory = directory
      self.bus = bus
      self.hierarchy = hierarchy
      self.root = root
    }

    var scopes: SystemdScopes {
      // Groups of this test's own root, as a machine's.
      let own = CgroupHierarchy(mountPoint: root.directory, controllers: hierarchy.controllers)
      return SystemdScopes(hierarchy: own, busPath: "\(directory.path)/bus", timeoutSeconds: 2)
    }

    func log() throws -> String { try Files.readText("\(directory.path)/log") ?? "" }

    func remove() throws {
      try bus.signal(9)
      try root.killAndRemove(milliseconds: 5000)
      try directory.remove()
    }
  }

  @Test(arguments: ["", "early"]) func `A scope stands with its pod's leaf, and goes with the pod`(behaviour: String)
    async throws
  {
    let world = try await World.make(behaviour)
    let path = try SystemdScopes.path(slice: world.slice, podID: "00ff")
    let directory = "\(world.root.directory)\(path)"
    do {
      let hold = try await world.scopes.make(path)
      let inside = try Files.readText("\(directory)/shim/cgroup.procs") ?? ""
      #expect(inside.split(separator: "\n").count == 1)
      // Nothing at the top of the scope, which hands its controllers down.
      #expect(try Files.readText("\(Files.parent(of: directory))/cgroup.procs") == "")
      withExtendedLifetime(hold) {}
    }
    // Its process went with the hold.
    let group = CgroupHierarchy(mountPoint: world.root.directory, controllers: []).group(try CgroupPath(path))
    #expect(try group.waitUntilEmpty(milliseconds: 5000))
    try group.remove()
    try await world.scopes.remove(path)
    #expect(!Files.exists("\(world.root.directory)/mt.slice"))
    // Again, and of one that systemd never knew.
    try await world.scopes.remove(path)
    let log = try world.log()
    #expect(!log.contains("\"error\""), "\(log)")
    for property in [
      #"["Slice", ["s", "mt-pod.slice"]]"#, #"["Delegate", ["b", true]]"#,
      #"["TasksMax", ["t", 18446744073709551615]]"#,
      #"["CollectMode", ["s", "inactive-or-failed"]]"#, #"["DefaultDependencies", ["b", false]]"#,
    ] { #expect(log.contains(property), "\(log)") }
    try world.remove()
  }

  @Test(arguments: [
    ("exists", "StartTransientUnit cri-martlet-00ff.scope: org.freedesktop.systemd1.UnitExists"),
    ("failed", "the job for cri-martlet-00ff.scope ended as failed"), ("silent", "no answer within 2 s"),
    ("closed", "the connection was closed"), ("garbage", "AUTH EXTERNAL: garbage"),
  ])
  func `What goes wrong is named, and nothing stays`(behaviour: String, words: String) async throws {
    let world = try await World.make(behaviour)
    let path = try SystemdScopes.path(slice: world.slice, podID: "00ff")
    let scopes = world.scopes
    let error = await #expect(throws: SystemdError.self) { try await scopes.make(path) }
    #expect(error?.description.contains(words) == true, "\(error?.description ?? "")")
    #expect(try world.root.waitUntilEmpty(milliseconds: 5000))
    try world.remove()
  }

  @Test func `Without a bus it is said what to do`() async throws {
    let scopes = SystemdScopes(hierarchy: try CgroupHierarchy.discover(), busPath: "/nowhere/bus")
    let path = try SystemdScopes.path(slice: "system.slice", podID: "00ff")
    let error = await #expect(throws: SystemdError.self) { try await scopes.make(path) }
    #expect(error?.description.hasPrefix("the system bus at /nowhere/bus: connect(/nowhere/bus): ENOENT") == true)
    #expect(error?.description.hasSuffix("start dbus, or use cgroup-driver = \"cgroupfs\"") == true)
  }
}
