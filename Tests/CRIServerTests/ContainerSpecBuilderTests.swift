import CRIModel
import ContainerPlan
import OCISpec
import PodRuntime
import SwiftProtobuf
import TestSupport
import Testing

@testable import CRIServer

@Suite struct ContainerSpecBuilderTests {
  /// An image that runs a shell as a named user.
  static let image = """
    {"os": "linux", "architecture": "amd64", "config": {"User": "app", "Env": ["PATH=/bin", "A=image", "B=image"],
     "Entrypoint": ["/entry"], "Cmd": ["default"], "WorkingDir": "work", "StopSignal": "SIGQUIT"},
     "rootfs": {"type": "layers", "diff_ids": []}}
    """
  static let passwd = "root:x:0:0:root:/root:/bin/sh\napp:x:1000:1001:app:/home/app:/bin/sh\n"
  static let group = "root:x:0:\nextra:x:2000:app\n"

  static func input(_ change: (inout CRIContainerConfig) -> Void = { _ in }) throws -> ContainerSpecInput {
    var config = CRIContainerConfig()
    config.metadata.name = "main"
    config.image.image = "localhost/app:1"
    config.linux.securityContext.namespaceOptions.pid = .container
    change(&config)
    var pod = SandboxConfig(identity: SandboxIdentity(namespace: "default", name: "pod", uid: "u", attempt: 0))
    pod.hostname = "pod"
    pod.logDirectory = "/var/log/pods/p"
    let record = SandboxRecord(
      id: "s", bootID: "b", createdAt: 1, cgroupPath: "/martlet/s", madeGroups: [], config: pod)
    let places = ContainerPlaces(
      containerID: "c", sandboxID: "s", podDirectory: "/run/martlet/pods/s",
      directory: "/run/martlet/pods/s/containers/c", storageDirectory: "/var/lib/martlet/containers/c")
    var input = ContainerSpecInput(
      config: config,
      sandbox: SandboxSnapshot(record: record, phase: .ready, addresses: SandboxAddresses(), shimPID: 1),
      places: places, imageID: "sha256:0", imageConfig: try ImageConfig(parsing: Array(image.utf8), in: "test"),
      layers: ["/layers/top", "/layers/base"])
    input.passwd = Array(passwd.utf8)
    input.group = Array(group.utf8)
    return input
  }

  static func build(_ change: (inout CRIContainerConfig) -> Void = { _ in }) throws -> CompiledContainer {
    try ContainerSpecBuilder.build(try input(change))
  }

  /// The specification and what goes with it, member by member. Of the seccomp profile, which has tests of its own, only
  /// that there is one.
  private func text(_ compiled: CompiledContainer) throws -> String {
    var compiled = compiled
    var text = "seccomp: \(compiled.specification.linux.seccomp == nil ? "off" : "on")\n"
    compiled.specification.linux.seccomp = nil
    dump(compiled.specification, to: &text)
    dump(compiled.root, to: &text)
    dump(compiled.context, to: &text)
    // It must also be a specification that a plan can be made of.
    _ = try Plan.container(compiled.specification, root: compiled.root, context: compiled.context)
    return text
  }

  @Test func aPlainRequestMakesTheSpecificationOfTheGoldenFile() throws {
    try Golden.check(try text(try Self.build()), named: "plain.txt")
  }

  @Test func aRequestWithEverythingMakesTheSpecificationOfTheGoldenFile() throws {
    let compiled = try Self.build { config in
      config.command = ["/bin/server"]
      config.args = ["--port", "80"]
      config.envs = [CRIKeyValue.with { ($0.key, $0.value) = ("A", "request") }]
      config.workingDir = "/srv"
      config.tty = true
      config.stdin = true
      config.logPath = "main/0.log"
      config.mounts = [
        CRIMount.with { ($0.hostPath, $0.containerPath, $0.readonly) = ("/data/inner", "/data/inner", true) },
        CRIMount.with { ($0.hostPath, $0.containerPath) = ("/data", "/data") },
        CRIMount.with {
          ($0.hostPath, $0.containerPath, $0.propagation) = ("/mnt", "/mnt", .propagationHostToContainer)
        },
        CRIMount.with { ($0.hostPath, $0.containerPath) = ("/hosts", "/etc/hosts") },
      ]
      var security = CRILinuxContainerSecurityContext()
      security.namespaceOptions.pid = .container
      security.runAsUser.value = 1000
      security.supplementalGroups = [3000]
      security.readonlyRootfs = true
      security.noNewPrivs = true
      security.capabilities.dropCapabilities = ["ALL"]
      security.capabilities.addCapabilities = ["NET_BIND_SERVICE"]
      security.seccomp.profileType = .unconfined
      config.linux.securityContext = security
      config.linux.resources.oomScoreAdj = 500
    }
    #expect(compiled.config.logPath == "/var/log/pods/p/main/0.log")
    try Golden.check(try text(compiled), named: "everything.txt")
  }

  @Test(
    arguments: [
      ([], [], ["/entry", "default"]), (["/c"], [], ["/c"]), ([], ["x"], ["/entry", "x"]),
      (["/c"], ["x"], ["/c", "x"]),
    ] as [([String], [String], [String])])
  func commandReplacesEntryPointAndArgumentsReplaceDefaults(command: [String], args: [String], result: [String]) throws
  {
    let compiled = try Self.build {
      $0.command = command
      $0.args = args
    }
    #expect(compiled.specification.process.arguments == result)
  }

  @Test func theRequestsEnvironmentWinsInThePlaceOfTheImages() throws {
    let environment = try Self.build { $0.envs = [CRIKeyValue.with { ($0.key, $0.value) = ("A", "request") }] }
      .specification.process.environment
    #expect(environment == ["PATH=/bin", "HOSTNAME=pod", "A=request", "B=image", "HOME=/home/app"])
  }

  @Test func theImagesUserHasItsGroups() throws {
    let user = try Self.build().specification.process.user
    #expect(user.uid == 1000 && user.gid == 1001)
    #expect(user.additionalGroups.contains(2000))
  }

  @Test(
    arguments: [
      ([], [], 14), ([], ["ALL"], 0), (["ALL"], [], 41), (["ALL"], ["NET_RAW"], 40), (["cap_sys_admin"], ["chown"], 14),
      (["NET_RAW"], ["ALL"], 1),
    ] as [([String], [String], Int)])
  func capabilitiesAreAddedAndDropped(add: [String], drop: [String], count: Int) throws {
    let sets = try Self.build {
      $0.linux.securityContext.capabilities.addCapabilities = add
      $0.linux.securityContext.capabilities.dropCapabilities = drop
    }.specification.process.capabilities
    #expect(sets.bounding.count == count)
    #expect(sets.inheritable.isEmpty && sets.ambient.isEmpty)
  }

  @Test func ambientCapabilitiesAreInheritableOnesOfTheContainer() throws {
    let sets = try Self.build {
      $0.linux.securityContext.capabilities.addCapabilities = ["NET_ADMIN"]
      $0.linux.securityContext.capabilities.addAmbientCapabilities = ["net_admin", "CHOWN"]
    }.specification.process.capabilities
    #expect(sets.ambient == ["CAP_CHOWN", "CAP_NET_ADMIN"] && sets.inheritable == sets.ambient)
    #expect(throws: RequestRefusal.self) {
      try Self.build {
        $0.linux.securityContext.capabilities.dropCapabilities = ["ALL"]
        $0.linux.securityContext.capabilities.addAmbientCapabilities = ["CHOWN"]
      }
    }
  }

  @Test(
    arguments: [
      (.merge, nil, 1001, [1001, 2000, 3000]), (.strict, nil, 1001, [1001, 3000]),
      (.merge, 5000, 5000, [5000, 2000, 3000]), (.strict, 5000, 5000, [5000, 3000]),
    ] as [(CRISupplementalGroupsPolicy, Int64?, UInt32, [UInt32])])
  func groupsOfTheImageAreMergedUnlessThePolicyIsStrict(
    policy: CRISupplementalGroupsPolicy, group: Int64?, gid: UInt32, groups: [UInt32]
  ) throws {
    let user = try Self.build {
      $0.linux.securityContext.runAsUser.value = 1000
      if let group { $0.linux.securityContext.runAsGroup.value = group }
      $0.linux.securityContext.supplementalGroups = [3000]
      $0.linux.securityContext.supplementalGroupsPolicy = policy
    }.specification.process.user
    #expect(user.gid == gid && user.additionalGroups == groups)
  }

  @Test func systemCallsAreFilteredWhereThatIsAskedFor() throws {
    #expect(try Self.build().specification.linux.seccomp == nil)
    let asked = try Self.build { $0.linux.securityContext.seccomp.profileType = .runtimeDefault }
    #expect(asked.specification.linux.seccomp != nil)
    let none = try Self.build { $0.linux.securityContext.seccomp.profileType = .unconfined }
    #expect(none.specification.linux.seccomp == nil)
    let old = try Self.build { $0.linux.securityContext.seccompProfilePath = "unconfined" }
    #expect(old.specification.linux.seccomp == nil)
  }

  private static let writableVolumes: [(String, @Sendable (inout CRIMount) -> Void)] = [
    ("mounts[0].readonly", { $0.readonly = false }), ("mounts[0].host_path", { $0.hostPath = "/etc" }),
    ("mounts[0].propagation", { $0.propagation = .propagationBidirectional }),
    ("mounts[0].image.image", { $0.image.image = "" }),
  ]

  @Test(arguments: writableVolumes)
  func anImageVolumeThatCouldBeWrittenToIsRefused(field: String, change: @Sendable (inout CRIMount) -> Void) throws {
    var mount = CRIMount.with {
      ($0.containerPath, $0.readonly) = ("/data", true)
      $0.image.image = "localhost/data:1"
    }
    change(&mount)
    let refusal = #expect(throws: RequestRefusal.self) { try Self.build { $0.mounts = [mount] } }
    #expect(refusal?.field == field)
  }

  @Test func onlyUsualDevicesMayBeOpened() throws {
    let rules = try Self.build().specification.linux.deviceRules
    #expect(rules.first == RuntimeSpec.DeviceRule(allow: false))
    #expect(!rules.contains { $0.allow && $0.kind != .character && ($0.read || $0.write) })
    #expect(rules.contains(RuntimeSpec.DeviceRule(allow: true, kind: .character, major: 1, minor: 3)))
  }

  @Test(
    arguments: [
      ("SIGTERM", 15), ("TERM", 15), ("9", 9), ("SIGRTMIN+3", 37), ("SIGRTMAX-1", 63), ("sigusr1", 10), ("0", nil),
      ("SIGNONE", nil), ("65", nil),
    ] as [(String, Int32?)])
  func signalsHaveTheKernelsNumbers(text: String, number: Int32?) {
    #expect(StopSignal.number(of: text) == number)
  }

  @Test func everySignalOfTheInterfaceHasANumberThatLeadsBackToIt() throws {
    for signal in CRISignal.allCases where signal != .runtimeDefault {
      let number = try StopSignal.number(requested: signal, image: nil)
      let back = try StopSignal.number(requested: StopSignal.signal(number), image: nil)
      #expect(back == number, "\(signal)")
    }
    #expect(try StopSignal.number(requested: .runtimeDefault, image: "SIGQUIT") == 3)
    #expect(try StopSignal.number(requested: .sigusr2, image: "SIGQUIT") == 12)
  }

  @Test func theSameRequestHasTheSameBytes() throws {
    var config = try Self.input().config
    for number in 0..<20 { config.labels["label\(number)"] = "\(number)" }
    let copy = try ContainerGatherer.decode(try ContainerGatherer.encode(config))
    #expect(copy == config)
    #expect(try ContainerGatherer.encode(copy) == ContainerGatherer.encode(config))
  }

  @Test(
    arguments: [
      ("YTpi", "a:b"), ("YTpiYw==", "a:bc"), ("YTpiYw", "a:bc"), ("", ""), ("%", nil),
    ] as [(String, String?)])
  func base64IsReadWithAndWithoutPadding(text: String, plain: String?) {
    #expect(Base64.decode(text).map { String(decoding: $0, as: UTF8.self) } == plain)
  }

  @Test func everyCodeOfTheRuntimeHasAStatusOfItsOwn() {
    let statuses = Set(PodRuntime.RuntimeError.Code.allCases.map { "\(RPCStatus.code($0))" })
    #expect(statuses.count == PodRuntime.RuntimeError.Code.allCases.count)
  }
}
