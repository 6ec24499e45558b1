import JSON
import KubeModel

/// Services: https://kubernetes.io/docs/reference/kubernetes-api/service-resources/service-v1/
extension FieldErrors {
  mutating func service(_ service: Service) {
    metadata(service.metadata, .service)
    serviceSpec(service.spec)
  }

  private mutating func serviceSpec(_ spec: ServiceSpec) {
    let path = FieldPath("spec")
    let type = spec.type ?? "ClusterIP"
    if spec.ports.isEmpty, !spec.isHeadless, type != "ExternalName" { required(path["ports"]) }
    switch type {
    case "LoadBalancer", "NodePort":
      if spec.isHeadless {
        invalid(path["clusterIPs"][0], "None", "may not be set to 'None' for \(type) services")
      }
    case "ExternalName": externalName(spec, path)
    case "ClusterIP": break
    default: notSupported(path["type"], type, ["ClusterIP", "ExternalName", "LoadBalancer", "NodePort"])
    }
    servicePorts(spec, type, path["ports"])
    labels(spec.selector, path["selector"])
    sessionAffinity(spec, path)
    if type != "ExternalName" { clusterAddresses(spec, path) }
    for (index, ip) in spec.externalIPs.enumerated() {
      let before = list.count
      address(path["externalIPs"][index], ip)
      if list.count == before { endpointAddress(path["externalIPs"][index], ip) }
    }
    loadBalancer(spec, type, path)
    traffic(spec, type, path)
  }

  private mutating func externalName(_ spec: ServiceSpec, _ path: FieldPath) {
    let why = "may not be set for ExternalName services"
    if !spec.addresses.isEmpty { forbidden(path["clusterIPs"], why) }
    if !spec.ipFamilies.isEmpty { forbidden(path["ipFamilies"], why) }
    if spec.ipFamilyPolicy != nil { forbidden(path["ipFamilyPolicy"], why) }
    var name = spec.externalName ?? ""
    if name.hasSuffix(".") { name.removeLast() }
    if name.isEmpty { required(path["externalName"]) } else { dnsSubdomain(path["externalName"], name) }
  }

  // MARK: ports

  private mutating func servicePorts(_ spec: ServiceSpec, _ type: String, _ path: FieldPath) {
    var names: Set<String> = []
    for (index, port) in spec.ports.enumerated() {
      let at = path[index]
      if let name = port.name, !name.isEmpty {
        dnsLabel(at["name"], name)
        if !names.insert(name).inserted { duplicate(at["name"], name) }
      } else if spec.ports.count > 1 {
        required(at["name"])
      }
      portNumber(at["port"], port.port)
      choice(at["protocol"], port.protocol, of: Self.protocols)
      if let target = port.targetPort { self.port(at["targetPort"], target) }
      if let application = port.appProtocol { qualifiedName(at["appProtocol"], application) }
      guard let nodePort = port.nodePort, nodePort != 0 else { continue }
      if type == "ClusterIP" { forbidden(at["nodePort"], "may not be used when `type` is 'ClusterIP'") }
      portNumber(at["nodePort"], nodePort)
    }
    repeatedPorts(spec.ports, path)
  }

  private mutating func repeatedPorts(_ ports: [ServicePort], _ path: FieldPath) {
    var (nodePorts, numbers): (Set<String>, Set<String>) = ([], [])
    for (index, port) in ports.enumerated() {
      guard let nodePort = port.nodePort, nodePort != 0 else { continue }
      if !nodePorts.insert("\(port.protocol ?? "TCP")/\(nodePort)").inserted {
        duplicate(path[index]["nodePort"], .integer(Int64(nodePort)))
      }
    }
    for (index, port) in ports.enumerated() {
      let transport = port.protocol ?? "TCP"
      if !numbers.insert("\(transport)/\(port.port)").inserted {
        duplicate(path[index], ["port": .integer(Int64(port.port)), "protocol": .string(transport)])
      }
    }
  }

  private static let affinitySecondsMax = 86400

  private mutating func sessionAffinity(_ spec: ServiceSpec, _ path: FieldPath) {
    choice(path["sessionAffinity"], spec.sessionAffinity, of: ["ClientIP", "None"])
    let at = path["sessionAffinityConfig"]
    if spec.sessionAffinity == "ClientIP" {
      guard let seconds = spec.sessionAffinityConfig?.clientIP?.timeoutSeconds else { return }
      if !(1...Self.affinitySecondsMax).contains(Int(seconds)) {
        invalid(
          at["clientIP"]["timeoutSeconds"], seconds,
          "must be greater than 0 and less than \(Self.affinitySecondsMax)")
      }
    } else if spec.sessionAffinity == "None", spec.sessionAffinityConfig != nil {
      forbidden(at, "must not be set when session affinity is None")
    }
  }

  // MARK: addresses

  private mutating func clusterAddresses(_ spec: ServiceSpec, _ path: FieldPath) {
    let first = spec.clusterIP ?? ""
    let shown = JSONValue(spec.clusterIPs)
    if first.isEmpty, !spec.clusterIPs.isEmpty {
      invalid(path["clusterIPs"], shown, "must be empty when `clusterIP` is not specified")
    } else if let primary = spec.clusterIPs.first, primary != first {
      invalid(path["clusterIPs"], shown, "first value must match `clusterIP`")
    }
    for (index, family) in spec.ipFamilies.enumerated() {
      choice(path["ipFamilies"][index], family, of: ["IPv4", "IPv6"])
      if spec.ipFamilies[..<index].contains(family) { duplicate(path["ipFamilies"][index], family) }
    }
    choice(
      path["ipFamilyPolicy"], spec.ipFamilyPolicy, of: ["PreferDualStack", "RequireDualStack", "SingleStack"])
    let addresses = spec.addresses
    let before = list.count
    for (index, value) in addresses.enumerated() {
      if index == 0, value == "None" {
        if addresses.count > 1 { invalid(path["clusterIPs"], shown, "'None' must be the first and only value") }
      } else {
        address(path["clusterIPs"][index], value)
      }
    }
    if addresses.count > 2 { invalid(path["clusterIPs"], shown, "may only hold up to 2 values") }
    // With a wrong address, what follows would only confuse.
    guard list.count == before, !spec.isHeadless else { return }
    if addresses.count > 1 {
      oneOfEachFamily(path["clusterIPs"], addresses, "may specify no more than one IP for each IP family")
    }
    for (index, (value, family)) in zip(addresses, spec.ipFamilies).enumerated()
    where value.contains(":") != (family == "IPv6") {
      invalid(
        path["clusterIPs"][index], value, "expected an \(family) value as indicated by `ipFamilies[\(index)]`")
    }
  }

  // MARK: traffic

  private mutating func loadBalancer(_ spec: ServiceSpec, _ type: String, _ path: FieldPath) {
    if !spec.loadBalancerSourceRanges.isEmpty {
      let at = path["LoadBalancerSourceRanges"]
      if type != "LoadBalancer" { forbidden(at, "may only be used when `type` is 'LoadBalancer'") }
      for (index, range) in spec.loadBalancerSourceRanges.enumerated() { network(at[index], range.trimmed) }
    }
    if type == "LoadBalancer" {
      if let name = spec.loadBalancerClass { qualifiedName(path["loadBalancerClass"], name) }
    } else {
      let why = "may only be used when `type` is 'LoadBalancer'"
      if spec.allocateLoadBalancerNodePorts != nil { forbidden(path["allocateLoadBalancerNodePorts"], why) }
      if spec.loadBalancerClass != nil { forbidden(path["loadBalancerClass"], why) }
    }
  }

  private mutating func traffic(_ spec: ServiceSpec, _ type: String, _ path: FieldPath) {
    let isReachable =
      type == "LoadBalancer" || type == "NodePort" || (type == "ClusterIP" && !spec.externalIPs.isEmpty)
    if let policy = spec.externalTrafficPolicy, !policy.isEmpty {
      if isReachable {
        choice(path["externalTrafficPolicy"], policy, of: ["Cluster", "Local"])
      } else {
        invalid(path["externalTrafficPolicy"], policy, "may only be set for externally-accessible services")
      }
    }
    if let port = spec.healthCheckNodePort, port != 0 {
      if type == "LoadBalancer", spec.externalTrafficPolicy == "Local" {
        portNumber(path["healthCheckNodePort"], port)
      } else {
        invalid(
          path["healthCheckNodePort"], port,
          "may only be set when `type` is 'LoadBalancer' and `externalTrafficPolicy` is 'Local'")
      }
    }
    choice(path["internalTrafficPolicy"], spec.internalTrafficPolicy, of: ["Cluster", "Local"])
    choice(
      path["trafficDistribution"], spec.trafficDistribution,
      of: ["PreferClose", "PreferSameNode", "PreferSameZone"])
  }

  // MARK: updates

  mutating func updateService(_ new: Service, _ old: Service) {
    metadataUpdate(new.metadata, old.metadata)
    changedAddresses(new.spec, old.spec)
    changedFamilies(new.spec, old.spec)
    if old.spec.type == "LoadBalancer", new.spec.type == "LoadBalancer",
      new.spec.loadBalancerClass != old.spec.loadBalancerClass
    {
      invalid(FieldPath("spec")["loadBalancerClass"], new.spec.loadBalancerClass.json, "may not change once set")
    }
    service(new)
  }

  private mutating func changedAddresses(_ new: ServiceSpec, _ old: ServiceSpec) {
    guard new.type != "ExternalName", old.type != "ExternalName", !(new.isHeadless && old.isHeadless) else { return }
    let path = FieldPath("spec")["clusterIPs"]
    let (now, before) = (new.addresses, old.addresses)
    if now.isEmpty, !before.isEmpty {
      return invalid(path[0], JSONValue(now), "primary clusterIP can not be unset")
    }
    for (index, (value, earlier)) in zip(now, before).enumerated() where value != earlier {
      invalid(path[index], JSONValue(now), "may not change once set")
    }
    if now.count == 1, before.count > 1, new.ipFamilyPolicy != "SingleStack" {
      invalid(
        FieldPath("spec")["ipFamilyPolicy"], new.ipFamilyPolicy.json,
        "must be set to 'SingleStack' when releasing the secondary clusterIP")
    }
  }

  private mutating func changedFamilies(_ new: ServiceSpec, _ old: ServiceSpec) {
    guard new.type != "ExternalName", old.type != "ExternalName", !new.isHeadless, !old.isHeadless else { return }
    guard let now = new.ipFamilies.first, let before = old.ipFamilies.first, now != before else { return }
    invalid(FieldPath("spec")["ipFamilies"][0], JSONValue(new.ipFamilies), "may not change once set")
  }

  mutating func updateServiceStatus(_ new: Service, _ old: Service) {
    metadataUpdate(new.metadata, old.metadata)
    let path = FieldPath("status")["loadBalancer"]["ingress"]
    if new.spec.type != "LoadBalancer", !new.status.loadBalancer.ingress.isEmpty {
      return forbidden(path, "may only be used when `spec.type` is 'LoadBalancer'")
    }
    for (index, ingress) in new.status.loadBalancer.ingress.enumerated() {
      if let ip = ingress.ip, !ip.isEmpty { address(path[index]["ip"], ip) }
      choice(path[index]["ipMode"], ingress.ipMode, of: ["Proxy", "VIP"])
      guard let name = ingress.hostname, !name.isEmpty else { continue }
      dnsSubdomain(path[index]["hostname"], name)
      if IPText(name) != nil { invalid(path[index]["hostname"], name, "must be a DNS name, not an IP address") }
    }
  }
}

extension ServiceSpec {
  /// The addresses as a list, also where only the older field is set.
  fileprivate var addresses: [String] {
    if !clusterIPs.isEmpty { return clusterIPs }
    guard let clusterIP, !clusterIP.isEmpty else { return [] }
    return [clusterIP]
  }

  fileprivate var isHeadless: Bool { addresses == ["None"] }
}

extension String {
  fileprivate var trimmed: String {
    String(drop(while: \.isWhitespace).reversed().drop(while: \.isWhitespace).reversed())
  }
}

extension Optional<String> {
  fileprivate var json: JSONValue { map { .string($0) } ?? .null }
}
