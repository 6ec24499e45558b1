import CSandbox
import ContainerPlan
import JSON
import OCISpec
import TestSupport
import Testing

struct PlanCase: Sendable, CustomTestStringConvertible {
  var name: String
  var spec: RuntimeSpec
  var root: RootFilesystem = .overlay(
    lowerDirectories: ["/layers/b", "/layers/a"], upperDirectory: "/c/upper", workDirectory: "/c/work")
  var context: SandboxContext
  var testDescription: String { name }

  static func podContext() -> SandboxContext {
    var context = SandboxContext()
    context.sharedMemory = .pod
    context.files = [
      SandboxContext.PodFile(hostPath: "/run/pod/hosts", containerPath: "/etc/hosts"),
      SandboxContext.PodFile(hostPath: "/run/pod/resolv.conf", containerPath: "/etc/resolv.conf", isReadOnly: true),
    ]
    return context
  }

  static func standard() -> RuntimeSpec {
    var spec = RuntimeSpec()
    spec.mounts = [
      .init(destination: "/proc", type: "proc", source: "proc", options: ["nosuid", "noexec", "nodev"]),
      .init(destination: "/dev", type: "tmpfs", source: "tmpfs", options: ["nosuid", "strictatime", "mode=755"]),
      .init(
        destination: "/dev/pts", type: "devpts", source: "devpts",
        options: ["nosuid", "noexec", "newinstance", "gid=5"]),
      .init(destination: "/dev/mqueue", type: "mqueue", source: "mqueue", options: ["nosuid", "noexec", "nodev"]),
      .init(destination: "/sys", type: "sysfs", source: "sysfs", options: ["nosuid", "noexec", "nodev", "ro"]),
      .init(destination: "/sys/fs/cgroup", type: "cgroup", source: "cgroup", options: ["nosuid", "relatime", "ro"]),
    ]
    spec.process.arguments = ["server", "--port", "80"]
    spec.process.environment = ["PATH=/usr/bin:/bin", "HOME=/"]
    spec.process.capabilities = RuntimeSpec.CapabilitySets(all: RuntimeDefaults.capabilities)
    spec.linux.maskedPaths = RuntimeDefaults.maskedPaths
    spec.linux.readonlyPaths = RuntimeDefaults.readonlyPaths
    return spec
  }

  static let all: [PlanCase] = {
    var cases = [PlanCase(name: "default", spec: standard(), context: podContext())]
    var readOnly = standard()
    readOnly.root.readonly = true
    readOnly.process.user = RuntimeSpec.User(uid: 1000, gid: 1000, additionalGroups: [1000, 20])
    readOnly.process.noNewPrivileges = true
    readOnly.process.workingDirectory = "/srv/app"
    readOnly.mounts += [
      .init(destination: "/data", type: "bind", source: "/var/data", options: ["rbind", "rslave", "ro"]),
      .init(destination: "/config", type: "bind", source: "/var/config", options: ["rbind", "rro"]),
      .init(destination: "/etc/hosts", type: "bind", source: "/own/hosts", options: ["bind"]),
    ]
    var filtered = podContext()
    filtered.seccompProgram = [UInt8](repeating: 0, count: 32)
    cases.append(PlanCase(name: "readonly", spec: readOnly, context: filtered))
    var privileged = standard()
    privileged.process.capabilities = RuntimeSpec.CapabilitySets(all: Capability.names)
    privileged.linux.maskedPaths = []
    privileged.linux.readonlyPaths = []
    privileged.linux.devices = [
      RuntimeSpec.Device(kind: .block, path: "/dev/vda", major: 254, minor: 0, mode: 0o660, gid: 6),
      RuntimeSpec.Device(kind: .character, path: "/dev/net/tun", major: 10, minor: 200),
    ]
    var node = SandboxContext()
    node.sharedMemory = .node
    node.processNamespace = .node
    cases.append(PlanCase(name: "privileged", spec: privileged, context: node))
    var terminal = standard()
    terminal.process.terminal = true
    terminal.process.consoleRows = 24
    terminal.process.consoleColumns = 80
    cases.append(PlanCase(name: "terminal", spec: terminal, context: podContext()))
    var bundle = standard()
    bundle.hostname = "bundle"
    bundle.linux.sysctls = ["kernel.shmmax": "65536", "net.ipv4.ip_forward": "1"]
    bundle.process.resourceLimits = [.init(type: "RLIMIT_NOFILE", soft: 1024, hard: 4096)]
    bundle.mounts.append(
      .init(destination: "/dev/shm", type: "tmpfs", source: "shm", options: ["nosuid", "size=65536k"]))
    cases.append(PlanCase(name: "bundle", spec: bundle, root: .directory("/bundle/rootfs"), context: SandboxContext()))
    cases.append(users())
    return cases
  }()

  /// A user namespace, and what else changes with one; a part of an image; ambient capabilities.
  static func users() -> PlanCase {
    var spec = standard()
    spec.linux.namespaces = [RuntimeSpec.Namespace(.user)]
    spec.linux.uidMappings = [RuntimeSpec.IDMapping(containerID: 0, hostID: 100_000, size: 65_536)]
    spec.linux.gidMappings = [RuntimeSpec.IDMapping(containerID: 0, hostID: 200_000, size: 65_536)]
    spec.process.user = RuntimeSpec.User(uid: 1000, gid: 1001, additionalGroups: [1001])
    spec.process.capabilities.ambient = ["CAP_NET_BIND_SERVICE"]
    var volume = RuntimeSpec.Mount(destination: "/data", type: "bind", source: "/var/data", options: ["rbind"])
    volume.uidMappings = spec.linux.uidMappings
    volume.gidMappings = spec.linux.gidMappings
    var image = RuntimeSpec.Mount(
      destination: "/model", type: "overlay", source: "overlay",
      options: ["ro", "lowerdir+=/layers/d", "lowerdir+=/layers/c"])
    image.subPath = "weights/small"
    spec.mounts += [
      volume, image,
      RuntimeSpec.Mount(destination: "/tree", type: "bind", source: "/var/tree", options: ["rbind", "ridmap"]),
    ]
    spec.linux.devices = [RuntimeSpec.Device(kind: .character, path: "/dev/fuse", major: 10, minor: 229, gid: 6)]
    return PlanCase(name: "users", spec: spec, context: podContext())
  }
}

@Suite struct PlanGoldenTests {
  @Test(arguments: PlanCase.all) func rendersAsItsGoldenFile(_ entry: PlanCase) throws {
    let plan = try Plan.container(entry.spec, root: entry.root, context: entry.context)
    try Golden.check(plan.render(), named: "\(entry.name).txt")
  }

  @Test(arguments: PlanCase.all) func itsEncodingIsWhatTheInterpreterTakes(_ entry: PlanCase) throws {
    let plan = try Plan.container(entry.spec, root: entry.root, context: entry.context)
    let bytes = plan.encoded()
    #expect(csandbox_validate(bytes, bytes.count) == 0)
    #expect(bytes == plan.encoded())
  }

  @Test func anExecHasNoMountsAndOneJoin() throws {
    var process = PlanCase.standard().process
    process.noNewPrivileges = true
    let plan = try Plan.exec(process, seccompProgram: nil)
    try Golden.check(plan.render(), named: "exec.txt")
    let bytes = plan.encoded()
    #expect(csandbox_validate(bytes, bytes.count) == 0)
  }

  @Test func everyByteThatIsChangedIsTakenOrRefusedButNeverReadBeyond() throws {
    let entry = PlanCase.all[1]
    let bytes = try Plan.container(entry.spec, root: entry.root, context: entry.context).encoded()
    for index in 0..<min(bytes.count, 4096) {
      for value: UInt8 in [0, 1, 0x7f, 0xff] {
        var changed = bytes
        changed[index] = value
        _ = csandbox_validate(changed, changed.count)
      }
    }
    for length in stride(from: 0, to: bytes.count, by: 7) {
      #expect(csandbox_validate(Array(bytes[..<length]), length) != 0)
    }
  }
}

@Suite struct PlanRefusalTests {
  private func problem(_ change: (inout RuntimeSpec) -> Void) -> String {
    var spec = PlanCase.standard()
    change(&spec)
    do {
      _ = try Plan.container(spec, root: .directory("/r"), context: SandboxContext())
      return "none"
    } catch {
      return error.description
    }
  }

  @Test func whatCannotBeDoneIsRefusedByName() {
    #expect(problem { $0.process.arguments = [] } == "process.args: there is no program to run")
    #expect(
      problem { $0.linux.namespaces = [.init(.time)] } == "linux.namespaces: a time namespace is not supported")
    #expect(
      problem { $0.mounts.append(.init(destination: "/x", type: "bind", source: "/y", options: ["idmap"])) }
        == "mounts[6].uidMappings: mapped ids need a user namespace of the pod's own")
    #expect(
      problem { $0.mounts.append(.init(destination: "/x", type: "nfs", source: "h:/y")) }
        == "mounts[6].type: file system nfs is not supported; bind a mount of the host")
    #expect(
      problem { $0.mounts.append(.init(destination: "/a/../../b", type: "bind", source: "/y")) }
        == "mounts[6].destination: /a/../../b leads out through ..")
    #expect(
      problem { $0.mounts.append(.init(destination: "/proc/sys", type: "bind", source: "/y")) }
        == "mounts[6].destination: /proc/sys: nothing may be mounted there")
    #expect(
      problem { $0.linux.seccomp = RuntimeSpec.Seccomp(defaultAction: .allow) }
        == "linux.seccomp: the profile was not compiled")
    #expect(problem { $0.process.oomScoreAdjust = 2000 } == "process.oomScoreAdj: 2000 is not between -1000 and 1000")
    #expect(
      problem { $0.process.resourceLimits = [.init(type: "RLIMIT_FOO", soft: 1, hard: 1)] }
        == "process.rlimits: RLIMIT_FOO is no limit that the kernel has")
  }

  @Test(arguments: [
    ("kernel.core_pattern", "|/x"), ("kernel.shmmax", "1\n2"), ("net.ipv4.ip_forward+", "1"), ("net/../kernel/x", "1"),
    ("kernel.shmmax=5", "1"), ("vm.swappiness", "1"), ("kernel.hostname", "x"), ("", "1"), ("net", "1"),
  ])
  func aSysctlThatIsNotThePodsIsRefused(_ name: String, _ value: String) {
    #expect(throws: PlanError.self) {
      _ = try Sysctls.path(name: name, value: value, hasOwnIPC: true, hasOwnNetwork: true)
    }
  }

  @Test func sysctlsOfSharedNamespacesAreRefused() throws {
    #expect(throws: PlanError.self) {
      _ = try Sysctls.path(name: "net.core.somaxconn", value: "1", hasOwnIPC: true, hasOwnNetwork: false)
    }
    #expect(throws: PlanError.self) {
      _ = try Sysctls.path(name: "kernel.shmmax", value: "1", hasOwnIPC: false, hasOwnNetwork: true)
    }
    #expect(
      try Sysctls.path(name: "net/ipv4/conf/eth0.1/forwarding", value: "1", hasOwnIPC: true, hasOwnNetwork: true)
        == "net/ipv4/conf/eth0.1/forwarding")
  }
}

@Suite struct UserDatabaseTests {
  private let passwd = Array("root:x:0:0::/root:/bin/sh\nweb:x:33:34::/srv:/bin/sh\n1000:x:0:0::/root:/bin/sh\n".utf8)
  private let group = Array("root:x:0:\nwww:x:34:\nadm:x:4:web,other\ntape:x:26:web\n".utf8)

  private func resolve(_ text: String) throws -> ResolvedUser {
    try ResolvedUser.resolve(text, passwd: passwd, group: group, additionalGroups: [99])
  }

  @Test func namesNumbersAndGroupsAreResolved() throws {
    let web = try resolve("web")
    #expect(web.user.uid == 33 && web.user.gid == 34 && web.home == "/srv" && web.name == "web")
    #expect(web.user.additionalGroups == [34, 4, 26, 99])
    #expect(try resolve("33") == web)
    #expect(try resolve("web:adm").user.additionalGroups == [4, 99])
    let number = try resolve("4242:7")
    #expect(number.user.uid == 4242 && number.user.gid == 7 && number.name == nil && number.home == "/")
    #expect(try resolve("").user.uid == 0)
    #expect(try resolve("").home == "/root")
  }

  @Test func digitsAreNeverTheNameOfALine() throws {
    let user = try resolve("1000")
    #expect(user.user.uid == 1000 && user.name == nil)
  }

  @Test(arguments: [
    "4294967296", "4294967295", "2147483648", "+0", "-1", "0x0", "00000000000", "nobody-here", "web:nogroup",
    String(repeating: "9", count: 300), "1e3",
  ])
  func whatIsNoUserIsRefused(_ text: String) {
    #expect(throws: PlanError.self) { _ = try resolve(text) }
  }

  @Test func aHugeGroupFileIsRefusedAndNotRead() {
    let huge = [UInt8](repeating: 0x61, count: ResolvedUser.databaseBytesMax + 1)
    #expect(throws: PlanError.self) { _ = try ResolvedUser.resolve("web", passwd: passwd, group: huge) }
  }
}

@Suite struct RuntimeSpecTests {
  private func parse(_ text: String) throws -> RuntimeSpec {
    try RuntimeSpec(json: JSONValue.parse(text))
  }

  @Test func aConfigurationIsReadAndUnknownMembersAreIgnored() throws {
    let spec = try parse(
      """
      {"ociVersion":"1.0.2","future":{"x":1},"root":{"path":"rootfs","readonly":true},"hostname":"h",
       "process":{"cwd":"/","args":["a"],"env":["A=1"],"user":{"uid":5,"gid":6,"additionalGids":[7]},
         "capabilities":{"bounding":["CAP_KILL"]},"rlimits":[{"type":"RLIMIT_NOFILE","soft":1,"hard":18446744073709551615}]},
       "mounts":[{"destination":"/proc","type":"proc","source":"proc"}],
       "linux":{"namespaces":[{"type":"pid"},{"type":"network","path":"/n"}],"maskedPaths":["/x"],
         "resources":{"devices":[{"allow":false,"access":"rwm"}],"memory":{"limit":1000}},
         "seccomp":{"defaultAction":"SCMP_ACT_ERRNO","syscalls":[{"names":["read"],"action":"SCMP_ACT_ALLOW"}]}}}
      """)
    #expect(spec.process.user == RuntimeSpec.User(uid: 5, gid: 6, additionalGroups: [7]))
    #expect(spec.process.resourceLimits[0].hard == UInt64.max)
    #expect(spec.linux.namespaces == [.init(.pid), .init(.network, path: "/n")])
    #expect(spec.linux.deviceRules == [.init(allow: false)])
    #expect(spec.linux.seccomp?.rules.count == 1 && spec.linux.resources.memoryLimitBytes == 1000)
  }

  @Test(arguments: [
    (#""hooks":{"prestart":[{"path":"/x"}]}"#, "hooks: not supported"),
    (#""linux":{"intelRdt":{"closID":"a"}}"#, "linux.intelRdt: not supported"),
    (
      #""linux":{"uidMappings":[{"size":1}]}"#,
      "linux.uidMappings[0].size: containerID, hostID and a size above 0 are needed"
    ),
    (#""mounts":[{"type":"proc"}]"#, "mounts[0].destination: missing"),
    (#""linux":{"sysctl":{"a":1}}"#, "linux.sysctl.a: a number where a string belongs"),
  ])
  func whatIsNotDoneIsRefusedByName(_ member: String, _ message: String) {
    do {
      _ = try parse(#"{"ociVersion":"1.2.0","root":{"path":"r"},"process":{"cwd":"/","args":["a"]},\#(member)}"#)
      Issue.record("it was taken")
    } catch {
      #expect("\(error)" == message)
    }
  }

  @Test func theDataOfOCIIsWhatTheProgramHas() throws {
    for (name, text) in RuntimeDefaults.data {
      let file = try Repository.read("oci/\(name)")
      #expect(file == text || file == text + "\n", "run hack/generate-defaults")
    }
  }

  @Test func theDefaultFilterDependsOnCapabilities() {
    let plain = SeccompTemplate.standard.profile(capabilities: [])
    let admin = SeccompTemplate.standard.profile(capabilities: ["CAP_SYS_ADMIN"])
    #expect(!plain.rules.contains { $0.names.contains("mount") })
    #expect(admin.rules.contains { $0.names.contains("mount") })
    #expect(plain.rules.contains { $0.names == ["clone3"] && $0.errno == 38 })
    #expect(!admin.rules.contains { $0.names == ["clone3"] && $0.action == .error })
    #expect(RuntimeDefaults.capabilities.allSatisfy { Capability.number($0) != nil })
  }
}
