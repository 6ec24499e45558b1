package import Kernel

package struct PodNetworkConfiguration: Sendable {
  /// The node's own: at most one IPv4 and one IPv6 block, at least one of them. The second address of each is the node's.
  package var podCIDRs: [IPPrefix]
  /// All pods of the cluster, to which nothing is masqueraded; the node's own blocks always belong to it.
  package var clusterCIDRs: [IPPrefix]
  /// Routed to the node's own link, so that the node itself finds a way to a virtual address, and so that no packet to
  /// one that no service has leaves the machine: such connections are refused.
  package var serviceCIDRs: [IPPrefix]
  /// Bytes, of both ends of a pod's link.
  package var mtu: Int
  /// Ready namespaces kept, at most.
  package var poolSize: Int
  /// Pods reach the outside under the node's address.
  package var masquerade: Bool

  package static let poolSizeMax = 64

  package init(
    podCIDRs: [IPPrefix], clusterCIDRs: [IPPrefix] = [], serviceCIDRs: [IPPrefix] = [], mtu: Int = 1500,
    poolSize: Int = 4, masquerade: Bool = true
  ) {
    self.podCIDRs = podCIDRs
    self.clusterCIDRs = clusterCIDRs
    self.serviceCIDRs = serviceCIDRs
    self.mtu = mtu
    self.poolSize = poolSize
    self.masquerade = masquerade
  }
}

/// A port of the node that leads to a port of a pod.
package struct HostPort: Sendable, Hashable {
  package var transport: TransportProtocol
  /// The node's address that it is open on; nil: every address of the node but loopback, of both families.
  package var hostIP: IPAddress?
  package var hostPort: UInt16
  package var containerPort: UInt16

  package init(transport: TransportProtocol, hostIP: IPAddress? = nil, hostPort: UInt16, containerPort: UInt16) {
    self.transport = transport
    self.hostIP = hostIP
    self.hostPort = hostPort
    self.containerPort = containerPort
  }
}

/// What a pod got.
package struct PodAddresses: Sendable, Hashable {
  package var ipv4: IPAddress?
  package var ipv6: IPAddress?
  /// Where the pod's network namespace is pinned: `<run>/netns/<sandboxID>`.
  package var namespacePath: String
  /// The node's end of the pod's link.
  package var hostLink: String

  /// IPv4 first.
  package var all: [IPAddress] { [ipv4, ipv6].compactMap { $0 } }
}

/// What `start` found from before.
package struct PodNetworkRecovery: Sendable, Equatable {
  /// Known pods whose network is whole, with the addresses that they keep.
  package var adopted: [String] = []
  /// Known pods whose namespace or record is gone or broken, each with what is wrong: they must be made anew.
  package var lost: [String: String] = [:]
  /// Networks of pods that nobody knows any more, taken down.
  package var removed: [String] = []
}

package struct PodNetworkError: Error, Sendable, CustomStringConvertible {
  package enum Code: Sendable, Hashable {
    /// The configuration is wrong; `detail` names the field.
    case configuration
    /// No address is free.
    case exhausted
    /// Another pod holds a host port.
    case hostPortTaken
    /// `start` has not run.
    case notStarted
    /// The kernel refused; `detail` has call, subject and errno.
    case kernel
    /// Not an id: 64 lowercase hexadecimal digits.
    case invalidID
  }
  package var code: Code
  /// "attach <id>", "detach <id>", "start".
  package var stage: String
  package var detail: String

  package init(code: Code, stage: String, detail: String) {
    self.code = code
    self.stage = stage
    self.detail = detail
  }

  package var description: String { "\(stage): \(detail)" }
}
