import Kernel
import PodNetwork

/// What `martlet up` starts, as a value: places, addresses, and the command line of each process.
struct UpPlan: Equatable, Sendable {
  var root: String
  var run: String
  /// martletd's; nil: its usual one.
  var configuration: String?
  var nodeName: String
  var bindAddress: String
  /// Where pods reach the API server; on the node's own link, which leads nowhere else.
  var advertiseAddress: String
  var securePort: Int
  var nodePort: Int
  /// The node's own.
  var podCIDRs: [String]
  /// Of all nodes' pods; the node's own are a part of them.
  var clusterCIDRs: [String]
  /// By which other nodes reach this one; none: it has no others.
  var nodeAddresses: [String]
  var podRouting: PodRouting
  var serviceCIDRs: [String]
  var manifests: String
  var kubeconfig: String
  var logs: String
  /// Further ones of `martlet server`, as they are.
  var serverFlags: [String] = []

  /// A process of the node, in the order in which they are listed.
  struct Process: Equatable, Sendable {
    let name: String
    /// Beside this program.
    let program: String
    let arguments: [String]
  }

  /// The node's own address: the first of the block that its pods get theirs from.
  /// - Returns: nil where there is no IPv4 block.
  static func nodeAddress(podCIDRs: [String]) -> String? {
    for text in podCIDRs {
      guard let block = IPPrefix(text), block.address.family == .ipv4 else { continue }
      var bytes = block.address.bytes
      for index in bytes.indices.reversed() {
        bytes[index] &+= 1
        if bytes[index] != 0 { break }
      }
      return IPAddress(bytes: bytes)?.description
    }
    return nil
  }

  var serverDirectory: String { "\(root)/server" }
  var serverSocket: String { "\(run)/server.sock" }
  var runtimeSocket: String { "\(run)/martlet.sock" }
  var nodeKubeconfig: String { "\(serverDirectory)/nodes/\(nodeName).kubeconfig" }
  var processLogs: String { "\(run)/logs" }

  var processes: [Process] {
    let places = ["--root", root, "--run", run]
    let cluster = clusterCIDRs.flatMap { ["--cluster-cidr", $0] }
    let routing = ["--pod-routing", podRouting.rawValue]
    let blocks = podCIDRs.flatMap { ["--pod-cidr", $0] } + serviceCIDRs.flatMap { ["--service-cidr", $0] }
    return [
      Process(
        name: "martletd", program: "martletd",
        arguments: places + blocks + cluster + (configuration.map { ["--config", $0] } ?? [])),
      Process(
        name: "server", program: "martlet",
        arguments: ["server"] + places + [
          "--bind-address", bindAddress, "--secure-port", "\(securePort)", "--advertise-address", advertiseAddress,
          "--node-name", nodeName, "--kubeconfig-out", kubeconfig,
        ] + cluster + routing + serverFlags + serviceCIDRs.flatMap { ["--service-cidr", $0] }),
      Process(
        name: "node", program: "martlet",
        arguments: ["node"] + places + blocks + cluster + routing + nodeAddresses.flatMap { ["--node-address", $0] } + [
          "--kubeconfig", nodeKubeconfig, "--node-name", nodeName, "--node-port", "\(nodePort)", "--manifests",
          manifests, "--logs", logs,
        ]),
    ]
  }

  /// What a person does next.
  func welcome(seconds: Double) -> String {
    let took = "\((seconds * 10).rounded() / 10)"
    return """
      Martlet is ready in \(took) s: node \(nodeName).

        export KUBECONFIG=\(kubeconfig)
        kubectl get nodes
        kubectl create deployment web --image=nginx --port=80 && kubectl expose deployment web
        kubectl get pods -o wide --watch

      What the parts say: \(processLogs)/{martletd,server,node}.log
      Ctrl-C stops them; pods go on, and the next martlet up takes them over. To remove everything: martlet up --reset

      """
  }
}
