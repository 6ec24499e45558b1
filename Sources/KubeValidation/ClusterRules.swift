import JSON
import KubeModel

/// Namespaces, nodes, leases, bindings: what a cluster runs on.
extension FieldErrors {
  mutating func namespace(_ namespace: Namespace) {
    metadata(namespace.metadata, .clusterByLabel)
    for finalizer in namespace.spec.finalizers {
      invalid(FieldPath("spec")["finalizers"], finalizer, NameRules.qualifiedName(finalizer))
      standardFinalizer(finalizer, FieldPath("spec")["finalizers"])
    }
  }

  mutating func updateNamespaceStatus(_ new: Namespace, _ old: Namespace) {
    metadataUpdate(new.metadata, old.metadata)
    let phase = new.status.phase ?? ""
    let path = FieldPath("status")["Phase"]
    if new.metadata.deletionTimestamp == nil, phase != "Active" {
      invalid(path, phase, "may only be 'Active' if `deletionTimestamp` is empty")
    } else if new.metadata.deletionTimestamp != nil, phase != "Terminating" {
      invalid(path, phase, "may only be 'Terminating' if `deletionTimestamp` is not empty")
    }
  }

  // MARK: nodes

  mutating func node(_ node: Node) {
    metadata(node.metadata, .clusterBySubdomain)
    taints(node.spec.taints, FieldPath("metadata")["taints"])
    nodeResources(node)
    let path = FieldPath("spec")["podCIDRs"]
    for (index, range) in node.spec.podCIDRs.enumerated() {
      network(path[index], range)
      if node.spec.podCIDRs[..<index].contains(range) { duplicate(path[index], range) }
    }
    if node.spec.podCIDRs.count > 1 {
      oneOfEachFamily(path, node.spec.podCIDRs, "may specify no more than one CIDR for each IP family")
    }
  }

  private mutating func nodeResources(_ node: Node) {
    for (field, amounts) in [("capacity", node.status.capacity), ("allocatable", node.status.allocatable)] {
      for (name, amount) in amounts.sorted(by: { $0.key < $1.key }) {
        quantity(name, amount, FieldPath("status")[field][name])
      }
    }
  }

  mutating func updateNode(_ new: Node, _ old: Node) {
    metadataUpdate(new.metadata, old.metadata)
    nodeResources(new)
    for (index, address) in new.status.addresses.enumerated() where new.status.addresses[..<index].contains(address) {
      duplicate(FieldPath("status")["addresses"][index], address.json)
    }
    let path = FieldPath("spec")
    if !old.spec.podCIDRs.isEmpty, new.spec.podCIDRs != old.spec.podCIDRs {
      forbidden(path["podCIDRs"], "node updates may not change podCIDR except from \"\" to valid")
    } else if old.spec.podCIDRs.isEmpty {
      for (index, range) in new.spec.podCIDRs.enumerated() { network(path["podCIDRs"][index], range) }
    }
    if let provider = old.spec.providerID, !provider.isEmpty, new.spec.providerID != provider {
      forbidden(path["providerID"], "node updates may not change providerID except from \"\" to valid")
    }
    taints(new.spec.taints, FieldPath("metadata")["taints"])
    if new.spec.externalID != old.spec.externalID { forbidden(path["externalID"], "may not be updated") }
  }

  // MARK: leases and bindings

  mutating func leaseSpec(_ spec: LeaseSpec) {
    let path = FieldPath("spec")
    if let seconds = spec.leaseDurationSeconds, seconds <= 0 {
      invalid(path["leaseDurationSeconds"], seconds, "must be greater than 0")
    }
    notNegative(path["leaseTransitions"], spec.leaseTransitions)
    if let strategy = spec.strategy {
      if strategy.contains("/") {
        qualifiedName(path["strategy"], strategy)
      } else if strategy != "OldestEmulationVersion" {
        notSupported(path["strategy"], strategy, ["OldestEmulationVersion"])
      }
    }
    if let holder = spec.preferredHolder, !holder.isEmpty, (spec.strategy ?? "").isEmpty {
      forbidden(path["preferredHolder"], "may only be specified if `strategy` is defined")
    }
  }

  mutating func binding(_ binding: Binding) {
    let path = FieldPath("target")
    if let kind = binding.target.kind, !kind.isEmpty, kind != "Node" {
      notSupported(path["kind"], kind, ["Node", "<empty>"])
    }
    if (binding.target.name ?? "").isEmpty { required(path["name"]) }
  }

  // MARK: endpoint slices

  static let endpointsMax = 1000
  static let addressesMax = 100
  static let portsMax = 100

  mutating func endpointSlice(_ slice: EndpointSlice) {
    metadata(slice.metadata, .bySubdomain)
    if slice.addressType.isEmpty { required(FieldPath("addressType")) }
    choice(FieldPath("addressType"), slice.addressType, of: ["FQDN", "IPv4", "IPv6"])
    endpoints(slice)
    endpointPorts(slice.ports, FieldPath("ports"))
  }

  private mutating func endpoints(_ slice: EndpointSlice) {
    let path = FieldPath("endpoints")
    guard slice.endpoints.count <= Self.endpointsMax else {
      return tooMany(path, slice.endpoints.count, Self.endpointsMax)
    }
    for (index, endpoint) in slice.endpoints.enumerated() {
      let at = path[index]["addresses"]
      if endpoint.addresses.isEmpty {
        required(at, "must contain at least 1 address")
      } else if endpoint.addresses.count > Self.addressesMax {
        tooMany(at, endpoint.addresses.count, Self.addressesMax)
      }
      for (number, value) in endpoint.addresses.enumerated() { sliceAddress(value, slice.addressType, at[number]) }
      if let node = endpoint.nodeName { dnsSubdomain(path[index]["nodeName"], node) }
      if let hostname = endpoint.hostname { dnsLabel(path[index]["hostname"], hostname) }
    }
  }

  private mutating func sliceAddress(_ value: String, _ type: String, _ path: FieldPath) {
    switch type {
    case "IPv4":
      if IPText(value)?.isV6 != false { return invalid(path, value, "must be a valid IPv4 address") }
      endpointAddress(path, value)
    case "IPv6":
      if IPText(value)?.isV6 != true { return invalid(path, value, "must be a valid IPv6 address") }
      endpointAddress(path, value)
    case "FQDN":
      let name = value.hasSuffix(".") ? String(value.dropLast()) : value
      let messages = NameRules.dnsSubdomain(name)
      if value.isEmpty {
        required(path)
      } else if !messages.isEmpty {
        invalid(path, name, messages.joined(separator: ","))
      } else if !name.contains(".") {
        invalid(path, name, "should be a domain with at least two segments separated by dots")
      }
    default: break
    }
  }

  private mutating func endpointPorts(_ ports: [EndpointPort], _ path: FieldPath) {
    guard ports.count <= Self.portsMax else { return tooMany(path, ports.count, Self.portsMax) }
    var names: Set<String> = []
    for (index, port) in ports.enumerated() {
      let name = port.name ?? ""
      if !name.isEmpty { dnsLabel(path[index]["name"], name) }
      if !names.insert(name).inserted { duplicate(path[index]["name"], name) }
      choice(path[index]["protocol"], port.protocol, of: Self.protocols)
      if let number = port.port { portNumber(path[index]["port"], number) }
      if let application = port.appProtocol { qualifiedName(path[index]["appProtocol"], application) }
    }
  }
}
