import CRIModel
import Logging
import PodRuntime
import SwiftProtobuf
import Testing

@testable import CRIServer

@Suite struct RequestBoundsTests {
  private static let megabyte = String(repeating: "x", count: 1 << 20)

  private func container(_ change: (inout CRIContainerConfig) -> Void) throws -> CRIContainerConfig {
    var config = try ContainerSpecBuilderTests.input().config
    change(&config)
    return config
  }

  @Test func usualRequestsPass() throws {
    try RequestBounds.check(try container { _ in })
    var pod = CRIPodSandboxConfig()
    pod.metadata.name = "pod"
    // As large as Kubernetes lets annotations be.
    pod.annotations = ["a": String(repeating: "x", count: 256 << 10)]
    try RequestBounds.check(pod)
  }

  private static let containers: [(String, @Sendable (inout CRIContainerConfig) -> Void)] = [
    ("labels", { $0.labels = ["a": megabyte] }), ("annotations", { $0.annotations = ["a": megabyte] }),
    ("metadata.name", { $0.metadata.name = megabyte }), ("log_path", { $0.logPath = megabyte }),
    ("args[0]", { $0.args = [megabyte] }), ("envs[0]", { $0.envs = [.with { $0.key = megabyte }] }),
    ("command", { $0.command = Array(repeating: "", count: 20_000) }),
    ("mounts", { $0.mounts = Array(repeating: CRIMount(), count: 1000) }),
    ("mounts[0].host_path", { $0.mounts = [.with { $0.hostPath = megabyte }] }),
    ("devices", { $0.devices = Array(repeating: CRIDevice(), count: 1000) }),
    ("CDI_devices", { $0.cdiDevices = Array(repeating: CRICDIDevice(), count: 1000) }),
    (
      "linux.security_context.supplemental_groups",
      { $0.linux.securityContext.supplementalGroups = Array(repeating: 1, count: 100_000) }
    ),
    (
      "linux.security_context.masked_paths",
      { $0.linux.securityContext.maskedPaths = Array(repeating: "/x", count: 2000) }
    ),
    ("linux.resources.unified", { $0.linux.resources.unified = ["memory.high": megabyte] }),
    ("linux.resources.cpuset_cpus", { $0.linux.resources.cpusetCpus = megabyte }),
  ]

  @Test(arguments: containers)
  func whatIsTooLargeIsRefusedByItsField(field: String, change: @Sendable (inout CRIContainerConfig) -> Void) throws {
    let config = try container(change)
    let refusal = #expect(throws: RequestRefusal.self) { try RequestBounds.check(config) }
    #expect(refusal?.field == field && (refusal?.description.utf8.count ?? 0) < 200)
  }

  private static let pods: [(String, @Sendable (inout CRIPodSandboxConfig) -> Void)] = [
    ("config.metadata.uid", { $0.metadata.uid = megabyte }), ("config.labels", { $0.labels = [megabyte: ""] }),
    ("config.dns_config", { $0.dnsConfig.searches = [megabyte] }),
    ("config.port_mappings", { $0.portMappings = Array(repeating: CRIPortMapping(), count: 70_000) }),
    ("config.linux.cgroup_parent", { $0.linux.cgroupParent = megabyte }),
    ("config.linux.sysctls", { $0.linux.sysctls = ["kernel.shm_rmid_forced": megabyte] }),
  ]

  @Test(arguments: pods)
  func aPodIsBoundedToo(field: String, change: @Sendable (inout CRIPodSandboxConfig) -> Void) {
    var config = CRIPodSandboxConfig()
    change(&config)
    let refusal = #expect(throws: RequestRefusal.self) { try RequestBounds.check(config) }
    #expect(refusal?.field == field && (refusal?.description.utf8.count ?? 0) < 200)
  }

  @Test func annotationsAndLabelsThatLookLikeOptionsChangeNothing() throws {
    let hostile = [
      "io.kubernetes.cri-o.Devices": "/dev/sda", "cdi.k8s.io/vendor": "vendor.com/device=zero",
      "io.containerd.runc.v2.group": "../..", "seccomp.security.alpha.kubernetes.io/pod": "unconfined",
      "io.kubernetes.cri.untrusted-workload": "true", "run.oci.handler": "krun", "--privileged": "true",
      "container.apparmor.security.beta.kubernetes.io/main": "unconfined",
    ]
    let plain = try ContainerSpecBuilderTests.build()
    let other = try ContainerSpecBuilderTests.build {
      $0.annotations = hostile
      $0.labels = hostile
      $0.image.annotations = hostile
    }
    #expect(other.specification == plain.specification && other.context == plain.context)
  }

  @Test func whatIsRepeatedOfARequestIsCut() async throws {
    let calls = CallLog(log: .init(label: "test") { _ in SwiftLogNoOpLogHandler() })
    let error = await #expect(throws: (any Error).self) {
      try await calls.answer("Call", Self.megabyte) {
        throw RequestRefusal.invalid(Self.megabyte, Self.megabyte)
      }
    }
    #expect("\(try #require(error))".utf8.count < 2 * CallLog.messageMax)
  }
}
