package import Kernel

/// What NetworkPolicies come to on this node: a value. Names are the caller's; they stand in chains' and sets' comments
/// nowhere, only in problems.
package struct PolicyTable: Sendable, Hashable {
  /// Peers by name; rules refer to them. A peer set that no rule names is not programmed.
  package var peers: [String: PeerSet]
  /// Policies by name; pods refer to them. A rule that is written once serves all pods that are selected by it.
  package var policies: [String: Policy]
  /// Pods of this node that some policy selects.
  package var pods: [IsolatedPod]

  package init(peers: [String: PeerSet] = [:], policies: [String: Policy] = [:], pods: [IsolatedPod] = []) {
    self.peers = peers
    self.policies = policies
    self.pods = pods
  }
}

/// Addresses, both families: pods one by one, and blocks.
package struct PeerSet: Sendable, Hashable {
  package var addresses: Set<IPAddress>
  package var blocks: [Block]

  /// A block without some parts of it.
  package struct Block: Sendable, Hashable {
    package var prefix: IPPrefix
    package var except: [IPPrefix]

    package init(prefix: IPPrefix, except: [IPPrefix] = []) {
      self.prefix = prefix
      self.except = except
    }
  }

  package init(addresses: Set<IPAddress> = [], blocks: [Block] = []) {
    self.addresses = addresses
    self.blocks = blocks
  }
}

/// The rules of one policy in one direction. What none allows is dropped.
package struct Policy: Sendable, Hashable {
  package enum Direction: Sendable, Hashable { case ingress, egress }
  package var direction: Direction
  package var rules: [Rule]

  /// Allows what comes from (or goes to) one of `peers` at one of `ports`.
  package struct Rule: Sendable, Hashable {
    /// Names in `PolicyTable.peers`; nil: everybody. Empty: nobody.
    package var peers: [String]?
    /// Ports of the pod for ingress, of the peer for egress (after a service's translation). Nil: all, of every protocol.
    package var ports: [Ports]?

    package init(peers: [String]?, ports: [Ports]?) {
      self.peers = peers
      self.ports = ports
    }
  }

  package struct Ports: Sendable, Hashable {
    package var transport: TransportProtocol
    /// Nil: every port.
    package var range: ClosedRange<UInt16>?

    package init(transport: TransportProtocol, range: ClosedRange<UInt16>? = nil) {
      self.transport = transport
      self.range = range
    }
  }

  package init(direction: Direction, rules: [Rule]) {
    self.direction = direction
    self.rules = rules
  }
}

/// A pod that policies select. Once this is applied its packets are judged: apply it before its first process runs.
/// Connections that were made before stay, as do answers; the node itself always reaches its pods, and a pod itself.
package struct IsolatedPod: Sendable, Hashable {
  package var addresses: [IPAddress]
  /// Names of policies; nil: everybody may connect to it. Empty: nobody.
  package var ingress: [String]?
  /// Names of policies; nil: it may connect to everybody. Empty: to nobody.
  package var egress: [String]?

  package init(addresses: [IPAddress], ingress: [String]?, egress: [String]?) {
    self.addresses = addresses
    self.ingress = ingress
    self.egress = egress
  }
}
