import JSON
internal import Kernel
import KubeModel
import KubeValidation
import ObjectStore

extension APIServer {
  /// Gives a Service what it needs of addresses and node ports, and says so in its spec.
  /// - Parameter old: the stored version; nil where it is made.
  /// - Throws: `Invalid` where what it asks for cannot be had; then nothing is taken.
  func allocate(
    _ object: inout JSONObject, old: JSONObject?, _ context: RequestContext
  ) throws(APIStatus) -> ServiceAllocation {
    guard context.resource.type.plural == "services", context.resource.type.group.isEmpty else { return .none }
    var allocation = ServiceAllocation(owner: allocations)
    let before = old.map(ServiceHoldings.init)
    var spec = object[object: "spec"]
    do throws(FieldError) {
      try allocateAddress(&spec, before, &allocation)
      try allocatePorts(&spec, before, &allocation)
    } catch {
      allocation.undo()
      throw .invalid(
        kind: "Service", group: "", name: ObjectMetadata(object).name, errors: [error])
    }
    object["spec"] = .object(spec)
    let after = ServiceHoldings(object)
    allocation.freedAddresses = before?.addresses.filter { !after.addresses.contains($0) } ?? []
    allocation.freedPorts = before?.ports.filter { !after.ports.contains($0) } ?? []
    return allocation
  }

  private func allocateAddress(
    _ spec: inout JSONObject, _ before: ServiceHoldings?, _ allocation: inout ServiceAllocation
  ) throws(FieldError) {
    guard spec.text("type") != "ExternalName" else { return }
    let asked = (spec["clusterIPs"]?.array ?? []).compactMap(\.string).filter { !$0.isEmpty }
    let first = spec.text("clusterIP")
    if first == "None" || (first.isEmpty && asked.first == "None") {
      spec["clusterIP"] = "None"
      spec["clusterIPs"] = ["None"]
      try headlessFamilies(&spec)
      return
    }
    let named = asked.isEmpty ? [first].filter { !$0.isEmpty } : asked
    let families = try wantedFamilies(&spec, named)
    var addresses: [String] = []
    for (index, family) in families.enumerated() {
      var address = index < named.count ? named[index] : ""
      if !address.isEmpty, before?.addresses.contains(address) == true {
        addresses.append(address)
        continue
      }
      do throws(AllocationError) {
        if address.isEmpty {
          address = try allocations.takeAddress(family)
        } else {
          try allocations.take(address: address)
        }
      } catch {
        throw FieldError(
          path: "spec.clusterIPs", reason: .invalid, value: .array(named.map { .string($0) }), detail: error.why)
      }
      allocation.takenAddresses.append(address)
      addresses.append(address)
    }
    spec["clusterIP"] = addresses.first.map { .string($0) }
    spec["clusterIPs"] = JSONValue(addresses)
    spec["ipFamilies"] = JSONValue(families.map(\.kubernetes))
  }

  /// The families of a Service, in its order, and its policy where it has none.
  private func wantedFamilies(
    _ spec: inout JSONObject, _ named: [String]
  ) throws(FieldError) -> [IPAddress.Family] {
    let there = allocations.networks.map(\.family)
    let asked = (spec["ipFamilies"]?.array ?? []).compactMap(\.string)
    var families: [IPAddress.Family] = []
    for (index, name) in asked.enumerated() {
      guard let family = IPAddress.Family(kubernetes: name) else { continue }  // validation tells it
      guard there.contains(family) else {
        throw FieldError(
          path: "spec.ipFamilies[\(index)]", reason: .invalid, value: .string(name),
          detail: "not configured on this cluster")
      }
      if !families.contains(family) { families.append(family) }
    }
    // What the addresses are says as much.
    for address in named.compactMap({ IPAddress($0) }) where !families.contains(address.family) {
      families.append(address.family)
    }
    let policy = spec.text("ipFamilyPolicy")
    if families.isEmpty { families = Array(there.prefix(1)) }
    if policy.isEmpty {
      spec["ipFamilyPolicy"] = families.count > 1 ? "RequireDualStack" : "SingleStack"
      return families
    }
    switch policy {
    case "RequireDualStack":
      guard there.count > 1 else {
        throw FieldError(
          path: "spec.ipFamilyPolicy", reason: .invalid, value: .string(policy),
          detail: "this cluster is not configured for dual-stack services")
      }
      return families + there.filter { !families.contains($0) }
    case "PreferDualStack": return families + there.filter { !families.contains($0) }
    default:
      if named.count > 1 || asked.count > 1 {
        throw FieldError(
          path: "spec.ipFamilyPolicy", reason: .invalid, value: .string(policy),
          detail: "must be RequireDualStack or PreferDualStack when multiple values are provided for `ipFamilies` or "
            + "`clusterIPs`")
      }
      return Array(families.prefix(1))
    }
  }

  /// A Service without an address has families all the same: those of the endpoints that names lead to.
  private func headlessFamilies(_ spec: inout JSONObject) throws(FieldError) {
    let hasSelector = spec["selector"]?.object.map { !$0.isEmpty } ?? false
    if spec["ipFamilies"] == nil, spec.text("ipFamilyPolicy").isEmpty, !hasSelector {
      // Whoever writes its endpoints chooses.
      spec["ipFamilies"] = JSONValue(
        allocations.networks.map(\.family.kubernetes))
      spec["ipFamilyPolicy"] = allocations.networks.count > 1 ? "RequireDualStack" : "SingleStack"
      return
    }
    spec["ipFamilies"] = JSONValue(try wantedFamilies(&spec, []).map(\.kubernetes))
  }

  private static func needsNodePorts(_ spec: JSONObject) -> Bool {
    switch spec.text("type") {
    case "NodePort": true
    case "LoadBalancer": spec["allocateLoadBalancerNodePorts"]?.bool ?? true
    default: false
    }
  }

  private func allocatePorts(
    _ spec: inout JSONObject, _ before: ServiceHoldings?, _ allocation: inout ServiceAllocation
  ) throws(FieldError) {
    var ports = spec["ports"]?.array ?? []
    let isNeeded = Self.needsNodePorts(spec)
    // Within one Service, TCP and UDP may share a number.
    var own: [UInt16: Set<String>] = [:]
    for index in ports.indices {
      guard var port = ports[index].object else { continue }
      let path = "spec.ports[\(index)].nodePort"
      let asked = port["nodePort"]?.integer ?? 0
      let transport = port.text("protocol")
      do throws(AllocationError) {
        if asked != 0 {
          guard let number = UInt16(exactly: asked) else { continue }  // validation has told it
          if own[number].map({ !$0.contains(transport) }) ?? (before?.ports.contains(number) ?? false) {
            // Shared within the Service, or held before.
          } else {
            try allocations.take(port: number)
            allocation.takenPorts.append(number)
          }
          own[number, default: []].insert(transport)
        } else if isNeeded {
          let number = try allocations.takePort()
          allocation.takenPorts.append(number)
          own[number, default: []].insert(transport)
          port["nodePort"] = .integer(Int64(number))
        }
      } catch {
        throw FieldError(path: path, reason: .invalid, value: .integer(asked), detail: error.why)
      }
      ports[index] = .object(port)
    }
    if !ports.isEmpty { spec["ports"] = .array(ports) }
    try allocateHealthPort(&spec, before, &allocation)
  }

  private func allocateHealthPort(
    _ spec: inout JSONObject, _ before: ServiceHoldings?, _ allocation: inout ServiceAllocation
  ) throws(FieldError) {
    let asked = spec["healthCheckNodePort"]?.integer ?? 0
    guard spec.text("type") == "LoadBalancer", spec.text("externalTrafficPolicy") == "Local" else { return }
    do throws(AllocationError) {
      if asked == 0 {
        let number = try allocations.takePort()
        allocation.takenPorts.append(number)
        spec["healthCheckNodePort"] = .integer(Int64(number))
      } else if let number = UInt16(exactly: asked), before?.ports.contains(number) != true {
        try allocations.take(port: number)
        allocation.takenPorts.append(number)
      }
    } catch {
      throw FieldError(path: "spec.healthCheckNodePort", reason: .invalid, value: .integer(asked), detail: error.why)
    }
  }

  /// What a new version of a Service left out of what the stored one was given.
  static func carryAllocations(_ object: inout JSONObject, old: JSONObject) {
    var spec = object[object: "spec"]
    let before = old[object: "spec"]
    let keepsAddress = spec.text("type") != "ExternalName" && before.text("type") != "ExternalName"
    if keepsAddress { carryAddresses(&spec, before) }
    if needsNodePorts(spec), needsNodePorts(before) {
      var known: [String: JSONValue] = [:]
      for port in before["ports"]?.array ?? [] {
        known["\(port.text("protocol"))/\(port["port"]?.integer ?? 0)"] = port["nodePort"]
      }
      spec["ports"] = .array(
        (spec["ports"]?.array ?? []).map { port in
          guard var object = port.object, (object["nodePort"]?.integer ?? 0) == 0 else { return port }
          object["nodePort"] = known["\(object.text("protocol"))/\(object["port"]?.integer ?? 0)"]
          return .object(object)
        })
    } else if !needsNodePorts(spec), needsNodePorts(before) {
      // The numbers that the type before needed, carried over by a client that read them, are let go.
      let held = Set(ServiceHoldings(old).ports)
      spec["ports"] = .array(
        (spec["ports"]?.array ?? []).map { port in
          guard var object = port.object, let number = object["nodePort"]?.integer.flatMap({ UInt16(exactly: $0) }),
            held.contains(number)
          else { return port }
          object["nodePort"] = nil
          return .object(object)
        })
    }
    if needsHealthPort(spec), spec["healthCheckNodePort"] == nil {
      spec["healthCheckNodePort"] = before["healthCheckNodePort"]
    }
    dropWhatTheTypeNeeded(&spec, before)
    object["spec"] = .object(spec)
  }

  private static func needsHealthPort(_ spec: JSONObject) -> Bool {
    spec.text("type") == "LoadBalancer" && spec.text("externalTrafficPolicy") == "Local"
  }

  private static func isReachable(_ spec: JSONObject) -> Bool {
    switch spec.text("type") {
    case "NodePort", "LoadBalancer": true
    case "ExternalName": false
    default: !(spec["externalIPs"]?.array ?? []).isEmpty
    }
  }

  /// A client that changes the type sends the rest as it read it. What only the type before had goes with that type.
  private static func dropWhatTheTypeNeeded(_ spec: inout JSONObject, _ before: JSONObject) {
    func drop(_ keys: String...) {
      for key in keys where spec[key] == before[key] { spec[key] = nil }
    }
    if before.text("type") == "LoadBalancer", spec.text("type") != "LoadBalancer" {
      drop("allocateLoadBalancerNodePorts", "loadBalancerClass")
    }
    if isReachable(before), !isReachable(spec) { drop("externalTrafficPolicy") }
    if needsHealthPort(before), !needsHealthPort(spec) { drop("healthCheckNodePort") }
    if before.text("type") != "ExternalName", spec.text("type") == "ExternalName" {
      drop("clusterIP", "clusterIPs", "ipFamilies", "ipFamilyPolicy", "internalTrafficPolicy")
    }
  }

  private static func carryAddresses(_ spec: inout JSONObject, _ before: JSONObject) {
    if spec.text("clusterIP").isEmpty, spec["clusterIPs"]?.array?.isEmpty ?? true {
      for key in ["clusterIP", "clusterIPs"] { spec[key] = before[key] }
    }
    for key in ["ipFamilies", "ipFamilyPolicy"] where spec[key] == nil { spec[key] = before[key] }
    // A client that goes back to one family sends what it read: the second goes.
    guard spec.text("ipFamilyPolicy") == "SingleStack", before.text("ipFamilyPolicy") != "SingleStack" else { return }
    for key in ["clusterIPs", "ipFamilies"] where spec[key] == before[key] {
      spec[key] = .array(Array((spec[key]?.array ?? []).prefix(1)))
    }
  }

  /// Takes what the stored Services hold.
  func rebuildAllocations() {
    guard let services = resources.resource(apiVersion: "v1", plural: "services") else { return }
    for object in store.list(prefix: services.prefix).objects {
      if let service = (try? JSONValue.parse(object.value))?.object { allocations.adopt(service) }
    }
  }
}
