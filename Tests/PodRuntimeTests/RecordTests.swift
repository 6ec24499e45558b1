import JSON
import Kernel
import OCISpec
import Testing

@testable import PodRuntime

@Suite struct RecordTests {
  private static func sandbox() -> SandboxRecord {
    var config = SandboxConfig(identity: SandboxIdentity(namespace: "n", name: "p", uid: "u", attempt: 3))
    config.hostname = "host"
    config.logDirectory = "/var/log/pods/p"
    config.nameResolution = NameResolution(servers: ["10.96.0.10"], searches: ["svc"], options: ["ndots:5"])
    config.hostPorts = [PortMapping(transport: .udp, containerPort: 53, hostPort: 5353, hostAddress: "127.0.0.1")]
    config.labels = ["a": "b \"quoted\""]
    config.annotations = ["c": "d\n"]
    config.sysctls = ["net.ipv4.ip_forward": "1"]
    config.processes = .pod
    config.resources.cpuShares = 512
    config.resources.hugepages = ["2MB": 4]
    config.resources.unified = ["memory.oom.group": "1"]
    return SandboxRecord(
      id: "0a", bootID: "boot", createdAt: 17, cgroupPath: "/martlet/0a", madeGroups: ["/martlet"], config: config)
  }

  @Test func aSandboxRecordReadsBackAsItself() throws {
    let record = Self.sandbox()
    let value = try JSONValue.parse(record.json.encoded(pretty: true))
    #expect(try SandboxRecord(value, path: "record.json") == record)
  }

  @Test func aContainerRecordReadsBackAsItself() throws {
    var config = ContainerConfig(name: "c", attempt: 1)
    config.image = "localhost/x:1"
    config.mounts = [
      MountNote(
        containerPath: "/a", hostPath: "/b", isReadOnly: true, isRecursivelyReadOnly: false, propagation: "private")
    ]
    config.stopSignal = 10
    config.user = RuntimeSpec.User(uid: 5, gid: 6, additionalGroups: [7, 8])
    let record = ContainerRecord(id: "0b", sandboxID: "0a", createdAt: 18, config: config)
    #expect(try ContainerRecord(try JSONValue.parse(record.json.encoded()), path: "record.json") == record)
    let exit = ContainerExit(code: 137, finishedAt: 20, reason: "OOMKilled", message: "x")
    let state = ContainerState(startedAt: 19, pid: 7, exit: exit)
    #expect(try ContainerState(try JSONValue.parse(state.json.encoded()), path: "state.json") == state)
  }

  /// Every member of a record that is taken away, or turned into something else, is named.
  @Test func aRecordWithoutAMemberIsRefusedByTheNameOfTheMember() throws {
    let whole = Self.sandbox().json.object ?? JSONObject()
    for key in whole.keys {
      for wrong in [nil, JSONValue.bool(true)] {
        var broken = whole
        broken[key] = wrong
        let error = #expect(throws: RecordError.self) { try SandboxRecord(.object(broken), path: "record.json") }
        #expect(error?.description.contains(key) == true, "\(key): \(String(describing: error))")
      }
    }
  }

  @Test func aRecordOfAnotherVersionIsRefused() throws {
    var record = Self.sandbox().json.object ?? JSONObject()
    record["version"] = 2
    let error = #expect(throws: RecordError.self) { try SandboxRecord(.object(record), path: "r") }
    #expect(error?.description == "record r: has version 2, this daemon reads 1")
  }

  @Test func resourcesBecomeFilesOfTheControlGroup() throws {
    var resources = LinuxResources()
    resources.cpuShares = 1024
    resources.cpuQuota = 50_000
    resources.cpuPeriod = 100_000
    resources.memoryLimit = 1 << 20
    resources.memorySwapLimit = 3 << 20
    resources.cpus = "0-1"
    resources.hugepages = ["2MB": 0, "1GB": 5]
    resources.unified = ["memory.high": "7"]
    let lines = try resources.limits.writes().map { "\($0.controller) \($0.file)=\($0.value)" }
    #expect(
      lines == [
        "cpu cpu.weight=100", "cpu cpu.max=50000 100000", "cpuset cpuset.cpus=0-1", "memory memory.max=1048576",
        "memory memory.swap.max=2097152", "hugetlb hugetlb.1GB.max=5", "memory memory.high=7",
      ])
  }

  @Test(arguments: ["cgroup.procs", "../memory.max", "memory/max", "devices.allow", ""])
  func onlyFilesOfControllersCanBeSet(file: String) {
    var limits = CgroupLimits()
    limits.unified = [file: "1"]
    #expect(throws: CgroupError.self) { try limits.writes() }
  }

  @Test(arguments: ["a/../b", "./a", "a\nb", "..", "a b"])
  func aControlGroupIsNamedByPlainComponents(path: String) {
    #expect(throws: CgroupError.self) { try CgroupPath(path) }
  }

  @Test(arguments: [(2, 1), (1024, 100), (262_144, 10_000), (0, 1), (1 << 40, 10_000)] as [(UInt64, UInt64)])
  func sharesBecomeWeights(shares: UInt64, weight: UInt64) { #expect(CgroupLimits.weight(shares: shares) == weight) }

  @Test func anUpdateChangesWhatItSets() {
    var before = LinuxResources()
    before.cpuShares = 2
    before.memoryLimit = 10
    var update = LinuxResources()
    update.memoryLimit = 20
    let after = before.updated(by: update)
    #expect(after.cpuShares == 2 && after.memoryLimit == 20)
  }
}
