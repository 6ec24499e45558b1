import JSON
import Kernel
import NFT
import Testing

@testable import martlet

@Suite struct CheckTests {
  /// A machine that has all.
  private static let whole: HostFeatures = {
    var host = HostFeatures()
    host.release = "6.18.1"
    host.releaseNumbers = [6, 18]
    host.isRoot = true
    host.capabilities = ~0
    host.cgroup2MountPoint = "/sys/fs/cgroup"
    host.cgroup2Controllers = ["cpu", "memory", "pids", "io", "cpuset"]
    host.fileSystems = ["overlay"]
    host.namespaces = ["mnt", "pid", "net", "ipc", "uts", "cgroup", "user"]
    host.seccompActions = ["errno", "allow"]
    host.openFilesMax = 1 << 20
    return host
  }()

  @Test func aWholeMachineLacksNothing() {
    let findings = CheckFinding.all(of: Self.whole, networkRefusals: [])
    #expect(findings.allSatisfy { $0.state == .ok }, "\(findings.filter { $0.state != .ok })")
    #expect(Set(findings.map(\.subject)).count == findings.count)
  }

  @Test(arguments: [
    ("kernel", CheckFinding.State.missing, "5.4"), ("root", .missing, "CAP_NET_ADMIN"),
    ("cgroup v2", .limited, "memory"),
    ("overlayfs", .limited, "not loaded"), ("namespaces", .limited, "user"), ("seccomp", .missing, "no filters"),
    ("open files", .limited, "1024"), ("oom_score_adj", .limited, "lowered"), ("swap", .limited, "swap"),
    ("ports", .limited, "6443 (API server)"),
  ])
  func whatIsLackingIsNamedWithARemedy(subject: String, state: CheckFinding.State, word: String) throws {
    var host = Self.whole
    switch subject {
    case "kernel": (host.release, host.releaseNumbers) = ("5.4.0", [5, 4])
    case "root": host.capabilities &= ~(1 << UInt64(try #require(Capabilities.number("CAP_NET_ADMIN"))))
    case "cgroup v2": host.cgroup2Controllers = ["cpu", "pids", "io", "cpuset"]
    case "overlayfs": host.fileSystems = []
    case "namespaces": host.namespaces.remove("user")
    case "seccomp": host.seccompActions = []
    case "open files": host.openFilesMax = 1024
    case "oom_score_adj": host.capabilities &= ~(1 << UInt64(try #require(Capabilities.number("CAP_SYS_RESOURCE"))))
    case "swap": (host.hasSwap, host.releaseNumbers) = (true, [6, 1])
    default: host.listeningPorts = [6443]
    }
    let finding = try #require(CheckFinding.all(of: host, networkRefusals: []).first { $0.subject == subject })
    #expect(finding.state == state)
    #expect(finding.detail.contains(word) || finding.remedy?.contains(word) == true, "\(finding)")
    #expect(finding.remedy != nil)
  }

  @Test func aRefusedLinkIsMissingAndSaysWhy() throws {
    let finding = try #require(
      CheckFinding.all(of: Self.whole, networkRefusals: ["veth: EOPNOTSUPP"]).first { $0.state == .missing })
    #expect(finding.subject == "links and rules")
    #expect(finding.detail.contains("EOPNOTSUPP"))
  }

  @Test func thisMachineCanBeANode() async {
    let program = Program.encode(NFT.Table(name: "martlet-check", sets: [], chains: []).replacing())
    let refusals = await HostFeatures.networkRefusals(program: program)
    #expect(refusals.isEmpty)
    let findings = CheckFinding.all(of: HostFeatures.found(), networkRefusals: refusals)
    #expect(findings.allSatisfy { $0.state != .missing }, "\(findings)")
  }
}
