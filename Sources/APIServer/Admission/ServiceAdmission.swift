import JSON
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
    let asked = spec.text("clusterIP")
    if asked == "None" || (asked.isEmpty && spec["clusterIPs"]?.array?.first == "None") {
      spec["clusterIP"] = "None"
      spec["clusterIPs"] = ["None"]
    } else {
      var address = asked.isEmpty ? spec["clusterIPs"]?.array?.first?.string ?? "" : asked
      if !address.isEmpty, before?.addresses.contains(address) == true {
        // It has it already.
      } else {
        do throws(AllocationError) {
          if address.isEmpty { address = try allocations.takeAddress() } else { try allocations.take(address: address) }
        } catch {
          throw FieldError(
            path: "spec.clusterIPs", reason: .invalid, value: address.isEmpty ? .array([]) : [.string(address)],
            detail: error.why)
        }
        allocation.takenAddresses.append(address)
      }
      spec["clusterIP"] = .string(address)
      spec["clusterIPs"] = [.string(address)]
    }
    spec.setDefault("ipFamilies", ["IPv4"])
    spec.setDefault("ipFamilyPolicy", "SingleStack")
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
    if keepsAddress, spec.text("clusterIP").isEmpty, spec["clusterIPs"]?.array?.isEmpty ?? true {
      for key in ["clusterIP", "clusterIPs"] { spec[key] = before[key] }
    }
    if keepsAddress {
      for key in ["ipFamilies", "ipFamilyPolicy"] where spec[key] == nil { spec[key] = before[key] }
    }
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
    if spec.text("type") == "LoadBalancer", spec.text("externalTrafficPolicy") == "Local",
      spec["healthCheckNodePort"] == nil
    {
      spec["healthCheckNodePort"] = before["healthCheckNodePort"]
    }
    object["spec"] = .object(spec)
  }

  /// Takes what the stored Services hold.
  func rebuildAllocations() {
    guard let services = resources.resource(apiVersion: "v1", plural: "services") else { return }
    for object in store.list(prefix: services.prefix).objects {
      if let service = (try? JSONValue.parse(object.value))?.object { allocations.adopt(service) }
    }
  }
}
