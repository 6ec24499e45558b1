import JSON
import Kernel
import Logging
import TestSupport
import Testing

@testable import CNI

/// Debian's plugins, in a network namespace that stands for a node.
@Suite(.serialized) struct CNIPluginTests {
  static let pluginDirectory = "/usr/lib/cni"

  /// Everything that the plugins keep lies in the test's directory.
  struct Node {
    let directory: TestDirectory
    let home: LabNamespace

    init() async throws {
      directory = try TestDirectory()
      home = try await LabNamespace.make(at: "\(directory.path)/home")
      try Files.makeDirectories("\(directory.path)/net.d")
    }

    func remove() throws {
      try home.remove()
      try directory.remove()
    }

    func network() -> CNINetwork {
      let path = home.path
      return CNINetwork(
        setup: .init(
          configurationDirectory: "\(directory.path)/net.d", pluginDirectories: [CNIPluginTests.pluginDirectory],
          recordsDirectory: "\(directory.path)/records", namespacesDirectory: "\(directory.path)/ns"),
        log: Logger(label: "test"),
        runner: { plugin, environment, input async throws(CNIPlugins.RunError) in
          do throws(SyscallError) {
            let outcome = try await ChildProcess.run(
              "/usr/bin/nsenter", arguments: ["nsenter", "--net=\(path)", plugin], environment: environment,
              input: input)
            return CNIPlugins.Answer(
              status: outcome.status.code, output: outcome.output, errorOutput: outcome.errorOutput)
          } catch {
            throw CNIPlugins.RunError(error)
          }
        })
    }

    /// - Parameter bandwidth: also limits pods that say so.
    func configure(_ version: String, bandwidth: Bool = false) throws {
      let ipam: JSONValue = [
        "type": "host-local", "dataDir": .string("\(directory.path)/leases"),
        "ranges": [[["subnet": "10.91.0.0/24"]], [["subnet": "fd91::/64"]]], "routes": [["dst": "0.0.0.0/0"]],
      ]
      let list: JSONValue = [
        "cniVersion": .string(version), "name": "mt-net",
        "plugins": [
          ["type": "bridge", "bridge": "mt-cni0", "isGateway": true, "hairpinMode": true, "ipam": ipam],
          bandwidth
            ? ["type": "bandwidth", "capabilities": ["bandwidth": true]]
            : ["type": "portmap", "capabilities": ["portMappings": true]],
        ],
      ]
      try Files.writeAtomically("\(directory.path)/net.d/10-mt.conflist", list.encoded())
    }

    var leases: [String] {
      get throws {
        try Directory(path: "\(directory.path)/leases/mt-net").list().map(\.name)
          .filter { $0.hasPrefix("10.") || $0.hasPrefix("fd91") }.sorted()
      }
    }
  }

  @Test(arguments: ["0.3.1", "0.4.0", "1.0.0"])
  func `Debian's plugins give two pods addresses that reach each other, and take everything away`(
    version: String
  ) async throws {
    let node = try await Node()
    defer { try? node.remove() }
    try node.configure(version)
    let network = node.network()
    _ = try await network.start(known: [])
    #expect(await network.problem() == nil)
    var attachment = CNIAttachment()
    attachment.ports = [.init(transport: "tcp", hostPort: 8088, containerPort: 80)]
    let first = try await network.attach(CNINetworkTests.id(1), attachment)
    let second = try await network.attach(CNINetworkTests.id(2), CNIAttachment())
    #expect(first.ipv4 == "10.91.0.2" && second.ipv4 == "10.91.0.3" && first.ipv6 == "fd91::2")
    #expect(first.hostLink?.hasPrefix("veth") == true)

    let pod = try LabNamespace.open(first.namespacePath)
    let server = try await EchoServer(name: "web", transport: .tcp, port: 80, in: pod)
    let other = try LabNamespace.open(second.namespacePath)
    #expect(try await other.links().contains("lo"))
    let address = try #require(IPAddress("10.91.0.2"))
    #expect(try await LabClient(.tcp, to: address, port: 80, from: other).ask() == "web 10.91.0.3")
    // Its own loopback is up.
    #expect(try await LabClient(.tcp, to: .ipv4(127, 0, 0, 1), port: 80, from: pod).ask() == "web 127.0.0.1")
    // The node's port leads to the pod's.
    let gateway = try #require(IPAddress("10.91.0.1"))
    #expect(try await LabClient(.tcp, to: gateway, port: 8088, from: node.home).ask().hasPrefix("web ") == true)
    server.stop()

    // CHECK sees what somebody took away. The other pod's is not asked: portmap 1.1.1 looks for rules of both families
    // with the address of one.
    try await network.check(CNINetworkTests.id(2))
    if version != "0.3.1" {
      try await other.command("ip", "address", "flush", "dev", "eth0")
      await #expect(throws: CNIError.self) { try await network.check(CNINetworkTests.id(2)) }
    }
    // Another daemon takes over: one pod is still known, the other's network goes.
    let again = node.network()
    let recovery = try await again.start(known: [CNINetworkTests.id(1)])
    #expect(recovery.adopted == [CNINetworkTests.id(1)] && recovery.removed == [CNINetworkTests.id(2)])
    #expect(try node.leases == ["10.91.0.2", "fd91::2"])
    try await again.detach(CNINetworkTests.id(1))
    #expect(try node.leases == [])
    #expect(try await node.home.links().filter { $0.hasPrefix("veth") } == [])
    #expect(try await !node.home.command("iptables-save").contains("8088"))
    #expect(try Directory(path: "\(node.directory.path)/ns").list().isEmpty)
  }

  /// Debian's bandwidth plugin: a queue at the host's end of what the pod receives, and a device between for what it sends.
  @Test func `A pod's annotations limit what it receives and sends, and nobody else`() async throws {
    let node = try await Node()
    defer { try? node.remove() }
    try node.configure("1.0.0", bandwidth: true)
    let network = node.network()
    _ = try await network.start(known: [])
    #expect(await network.problem() == nil)
    var limited = CNIAttachment()
    limited.annotations = [CNIAttachment.ingressAnnotation: "10M", CNIAttachment.egressAnnotation: "4M"]
    let slow = try await network.attach(CNINetworkTests.id(1), limited)
    let free = try await network.attach(CNINetworkTests.id(2), CNIAttachment())
    let (slowLink, freeLink) = (try #require(slow.hostLink), try #require(free.hostLink))
    // The pod's own link, whose figures are the pod's, not the device between.
    #expect(slowLink.hasPrefix("veth") && freeLink.hasPrefix("veth") && slowLink != freeLink)
    let queues = try await node.home.command("tc", "qdisc", "show").split(separator: "\n").map(String.init)
    #expect(queues.contains { $0.contains("tbf") && $0.contains("dev \(slowLink) ") && $0.contains("rate 10Mbit") })
    #expect(queues.contains { $0.contains("qdisc ingress") && $0.contains("dev \(slowLink) ") })
    #expect(
      queues.contains { $0.contains("tbf") && !$0.contains("dev \(slowLink) ") && $0.contains("rate 4Mbit") },
      "\(queues)")
    #expect(!queues.contains { $0.contains("dev \(freeLink) ") && !$0.contains("noqueue") })

    var wrong = CNIAttachment()
    wrong.annotations = [CNIAttachment.egressAnnotation: "fast"]
    let refused = await #expect(throws: CNIError.self) { try await network.attach(CNINetworkTests.id(3), wrong) }
    #expect(refused?.description.contains("fast is no quantity from 1k to 1P bits a second") == true)

    try await network.detach(CNINetworkTests.id(1))
    try await network.detach(CNINetworkTests.id(2))
    #expect(try await !node.home.command("tc", "qdisc", "show").contains("tbf"))
    #expect(try await node.home.links().filter { $0.hasPrefix("veth") || $0.hasPrefix("bwp") } == [])
    #expect(try node.leases == [])
  }

  @Test func `A plugin's refusal comes in its own words`() async throws {
    let node = try await Node()
    defer { try? node.remove() }
    let list: JSONValue = [
      "cniVersion": "1.0.0", "name": "mt-net",
      "plugins": [
        [
          "type": "bridge", "bridge": "mt-cni0",
          "ipam": ["type": "host-local", "ranges": [[["subnet": "10.91.0.0/33"]]]],
        ]
      ],
    ]
    try Files.writeAtomically("\(node.directory.path)/net.d/10-mt.conflist", list.encoded())
    let network = node.network()
    _ = try await network.start(known: [])
    let error = await #expect(throws: CNIError.self) {
      try await network.attach(CNINetworkTests.id(1), CNIAttachment())
    }
    #expect(error?.description.hasPrefix("CNI ADD of network mt-net, plugin bridge: code ") == true)
    #expect(error?.description.contains("10.91.0.0/33") == true)
  }

  @Test func `A version that Debian's plugins do not speak is refused before a pod comes`() async throws {
    let node = try await Node()
    defer { try? node.remove() }
    try node.configure("1.1.0")
    let network = node.network()
    _ = try await network.start(known: [])
    #expect(await network.problem()?.contains("not 1.1.0, which the configuration asks for") == true)
  }
}
