package import Dataplane
internal import Kernel
package import KubeModel

/// What NetworkPolicies mean for pods: https://kubernetes.io/docs/concepts/services-networking/network-policies/
///
/// Pure: the same objects give the same table in any order. Peers and rules are worked out once, however many pods of
/// this node a policy is for; only where a rule names a port of the pod itself does it depend on the pod.
package struct PolicyTranslation: Sendable {
  private let policies: [String: [NetworkPolicy]]
  private let namespaces: [String: [String: String]]
  private let pods: [String: [PolicyPod]]
  /// Of the pods that were added.
  package private(set) var table = PolicyTable()
  /// What of a policy is not in force because it cannot be read, by `namespace/name`. It allows nothing.
  package private(set) var problems: [String: [String]] = [:]

  /// - Parameters:
  ///   - namespaces: labels by name.
  ///   - pods: of the whole cluster.
  package init(policies: [NetworkPolicy], namespaces: [String: [String: String]], pods: [PolicyPod]) {
    self.policies = Dictionary(grouping: policies) { $0.metadata.namespace ?? "" }.mapValues { policies in
      policies.sorted { ($0.metadata.name ?? "") < ($1.metadata.name ?? "") }
    }
    self.namespaces = namespaces
    self.pods = Dictionary(grouping: pods, by: \.namespace)
  }

  /// Puts a pod of this node into the table, where a policy selects it.
  package mutating func add(_ pod: PolicyPod) {
    var isolated = IsolatedPod(addresses: pod.addresses, ingress: nil, egress: nil)
    for policy in policies[pod.namespace] ?? [] where policy.spec.podSelector.matches(pod.labels) {
      if policy.isolates("Ingress") {
        isolated.ingress = (isolated.ingress ?? []) + [ingress(policy, pod)]
      }
      if policy.isolates("Egress") {
        isolated.egress = (isolated.egress ?? []) + [egress(policy)]
      }
    }
    guard isolated.ingress != nil || isolated.egress != nil, !pod.addresses.isEmpty else { return }
    table.pods.append(isolated)
  }

  // MARK: policies

  /// - Returns: the name of what the policy allows to come in; it tells the numbers that the pod gives to named ports.
  private mutating func ingress(_ policy: NetworkPolicy, _ pod: PolicyPod) -> String {
    let names = Set(policy.spec.ingress.flatMap(\.ports).compactMap(\.name)).sorted()
    let numbers = names.map { "\($0)=\(pod.namedPorts[$0].map { "\($0)" } ?? "")" }
    let name = "\(policy.key) ingress" + numbers.map { " \($0)" }.joined()
    if table.policies[name] != nil { return name }
    var rules: [Policy.Rule] = []
    for (index, rule) in policy.spec.ingress.enumerated() {
      let from = peers(policy, "ingress", index, rule.from)
      if rule.ports.isEmpty {
        rules.append(Policy.Rule(peers: from, ports: nil))
        continue
      }
      var ports: [Policy.Ports] = []
      for port in rule.ports {
        guard let transport = transport(port, policy) else { continue }
        if let name = port.name {
          if let number = pod.namedPorts[name] {
            ports.append(Policy.Ports(transport: transport, range: number...number))
          }
        } else if let found = numbered(port, transport, policy) {
          ports.append(found)
        }
      }
      rules.append(Policy.Rule(peers: from, ports: Self.once(ports)))
    }
    table.policies[name] = Policy(direction: .ingress, rules: rules)
    return name
  }

  /// Named ports are those of each pod that is reached: one name may be several numbers.
  private mutating func egress(_ policy: NetworkPolicy) -> String {
    let name = "\(policy.key) egress"
    if table.policies[name] != nil { return name }
    var rules: [Policy.Rule] = []
    for (index, rule) in policy.spec.egress.enumerated() {
      let to = peers(policy, "egress", index, rule.to)
      if rule.ports.isEmpty {
        rules.append(Policy.Rule(peers: to, ports: nil))
        continue
      }
      var ports: [Policy.Ports] = []
      var named: [Policy.Rule] = []
      for port in rule.ports {
        guard let transport = transport(port, policy) else { continue }
        if let portName = port.name {
          let reached = rule.to.isEmpty ? pods.values.flatMap(\.self) : matched(policy, rule.to)
          var numbers: [UInt16: Set<IPAddress>] = [:]
          for pod in reached {
            if let number = pod.namedPorts[portName] { numbers[number, default: []].formUnion(pod.addresses) }
          }
          for (number, addresses) in numbers.sorted(by: { $0.key < $1.key }) {
            let peers = "\(policy.key) egress \(index) \(portName)=\(number)"
            table.peers[peers] = PeerSet(addresses: addresses)
            named.append(
              Policy.Rule(peers: [peers], ports: [Policy.Ports(transport: transport, range: number...number)]))
          }
        } else if let found = numbered(port, transport, policy) {
          ports.append(found)
        }
      }
      if !ports.isEmpty { rules.append(Policy.Rule(peers: to, ports: Self.once(ports))) }
      rules += named
    }
    table.policies[name] = Policy(direction: .egress, rules: rules)
    return name
  }

  private static func once(_ ports: [Policy.Ports]) -> [Policy.Ports] {
    var seen: Set<Policy.Ports> = []
    return ports.filter { seen.insert($0).inserted }
  }

  // MARK: peers

  /// - Returns: the name of the set; nil for everybody.
  private mutating func peers(
    _ policy: NetworkPolicy, _ direction: String, _ rule: Int, _ peers: [NetworkPolicyPeer]
  ) -> [String]? {
    if peers.isEmpty { return nil }
    let name = "\(policy.key) \(direction) \(rule)"
    guard table.peers[name] == nil else { return [name] }
    var set = PeerSet()
    for (index, peer) in peers.enumerated() {
      guard let block = peer.ipBlock else { continue }
      let place = "spec.\(direction)[\(rule)].\(direction == "ingress" ? "from" : "to")[\(index)].ipBlock"
      if let read = read(block, policy, place) { set.blocks.append(read) }
    }
    set.addresses = Set(matched(policy, peers).flatMap(\.addresses))
    table.peers[name] = set
    return [name]
  }

  /// The pods that any of the peers selects.
  private func matched(_ policy: NetworkPolicy, _ peers: [NetworkPolicyPeer]) -> [PolicyPod] {
    let home = policy.metadata.namespace ?? ""
    return peers.flatMap { peer -> [PolicyPod] in
      guard peer.ipBlock == nil, peer.podSelector != nil || peer.namespaceSelector != nil else { return [] }
      let places: [String]
      if let selector = peer.namespaceSelector {
        places = namespaces.filter { selector.matches($0.value) }.keys.sorted()
      } else {
        places = [home]
      }
      let candidates = places.flatMap { pods[$0] ?? [] }
      guard let selector = peer.podSelector else { return candidates }
      return candidates.filter { selector.matches($0.labels) }
    }
  }

  private mutating func read(_ block: IPBlock, _ policy: NetworkPolicy, _ place: String) -> PeerSet.Block? {
    guard let prefix = Self.prefix(block.cidr) else {
      note(policy, "\(place).cidr: \"\(block.cidr)\" is no range such as 10.0.0.0/8; it allows nothing")
      return nil
    }
    var except: [IPPrefix] = []
    for (index, text) in block.except.enumerated() {
      guard let hole = Self.prefix(text) else {
        // Without the exception more would be allowed than was meant.
        note(policy, "\(place).except[\(index)]: \"\(text)\" is no range such as 10.1.0.0/16; the block allows nothing")
        return nil
      }
      except.append(hole)
    }
    return PeerSet.Block(prefix: prefix, except: except)
  }

  /// Host bits may be set: they are cleared, as the API takes them.
  private static func prefix(_ text: String) -> IPPrefix? {
    let parts = text.split(separator: "/", omittingEmptySubsequences: false)
    guard parts.count == 2, let address = IPAddress(parts[0]), let length = Int(parts[1]), length >= 0,
      length <= address.bytes.count * 8
    else { return nil }
    var bytes = address.bytes
    for index in bytes.indices {
      let bits = min(max(length - index * 8, 0), 8)
      bytes[index] &= bits == 0 ? 0 : UInt8(truncatingIfNeeded: 0xff << (8 - bits))
    }
    return IPAddress(bytes: bytes).flatMap { IPPrefix(address: $0, length: length) }
  }

  // MARK: ports

  private mutating func transport(_ port: NetworkPolicyPort, _ policy: NetworkPolicy) -> TransportProtocol? {
    let text = port.`protocol` ?? "TCP"
    guard let transport = TransportProtocol.allCases.first(where: { $0.description.uppercased() == text }) else {
      note(policy, "ports[].protocol: \"\(text)\" is not TCP, UDP or SCTP; the port allows nothing")
      return nil
    }
    return transport
  }

  private mutating func numbered(
    _ port: NetworkPolicyPort, _ transport: TransportProtocol, _ policy: NetworkPolicy
  ) -> Policy.Ports? {
    guard case .int(let number)? = port.port else { return Policy.Ports(transport: transport) }
    guard let first = UInt16(exactly: number), first > 0, let last = UInt16(exactly: port.endPort ?? number),
      last >= first
    else {
      let end = port.endPort.map { " to \($0)" } ?? ""
      note(policy, "ports[].port: \(number)\(end) is no range of ports; it allows nothing")
      return nil
    }
    return Policy.Ports(transport: transport, range: first...last)
  }

  private mutating func note(_ policy: NetworkPolicy, _ problem: String) {
    if problems[policy.key]?.contains(problem) != true { problems[policy.key, default: []].append(problem) }
  }
}

extension NetworkPolicyPort {
  /// `TCP/http`, where the port is named.
  fileprivate var name: String? {
    guard case .string(let name)? = port else { return nil }
    return "\(`protocol` ?? "TCP")/\(name)"
  }
}

extension NetworkPolicy {
  fileprivate var key: String { "\(metadata.namespace ?? "")/\(metadata.name ?? "")" }

  /// A policy without types is for incoming traffic, and for outgoing where it speaks of that.
  package func isolates(_ type: String) -> Bool {
    if spec.policyTypes.isEmpty { return type == "Ingress" || !spec.egress.isEmpty }
    return spec.policyTypes.contains(type)
  }
}
