import JSON
import KubeModel

/// Ingresses, network policies and endpoints.
extension FieldErrors {
  mutating func ingress(_ ingress: Ingress) {
    metadata(ingress.metadata, .bySubdomain)
    let (spec, path) = (ingress.spec, FieldPath("spec"))
    if spec.rules.isEmpty, spec.defaultBackend == nil {
      invalid(path, .null, "either `defaultBackend` or `rules` must be specified")
    }
    if let backend = spec.defaultBackend { ingressBackend(backend, path["defaultBackend"]) }
    for (index, rule) in spec.rules.enumerated() { ingressRule(rule, path["rules"][index]) }
    for (index, tls) in spec.tls.enumerated() {
      for (number, host) in tls.hosts.enumerated() {
        ingressHost(host, path["tls"][index]["hosts"][number])
      }
      if let secret = tls.secretName, !secret.isEmpty { dnsSubdomain(path["tls"][index]["secretName"], secret) }
    }
    if let name = spec.ingressClassName { dnsSubdomain(path["ingressClassName"], name) }
  }

  mutating func createIngress(_ ingress: Ingress) {
    self.ingress(ingress)
    let key = "kubernetes.io/ingress.class"
    if let name = ingress.metadata.annotations[key], ingress.spec.ingressClassName != nil,
      name != ingress.spec.ingressClassName
    {
      invalid(FieldPath("annotations").key(key), name, "must match `ingressClassName` when both are specified")
    }
  }

  private mutating func ingressHost(_ host: String, _ path: FieldPath) {
    if host.hasPrefix("*") {
      let isGood = host.hasPrefix("*.") && Pattern.isDNSSubdomain(host.dropFirst(2).utf8)
      if !isGood {
        invalid(
          path, host,
          [
            NameRules.pattern(
              """
              a wildcard DNS-1123 subdomain must start with '*.', followed by a valid DNS subdomain, which must consist \
              of lower case alphanumeric characters, '-' or '.' and end with an alphanumeric character
              """, #"\*\.[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*"#, "*.example.com")
          ])
      }
    } else {
      dnsSubdomain(path, host)
    }
  }

  private mutating func ingressRule(_ rule: IngressRule, _ path: FieldPath) {
    if let host = rule.host, !host.isEmpty {
      if IPText(host) != nil {
        invalid(path["host"], host, "must be a DNS name, not an IP address")
      } else {
        ingressHost(host, path["host"])
      }
    }
    guard let http = rule.http else { return }
    if http.paths.isEmpty { required(path["http"]["paths"]) }
    for (index, each) in http.paths.enumerated() { ingressPath(each, path["http"]["paths"][index]) }
  }

  private mutating func ingressPath(_ each: HTTPIngressPath, _ path: FieldPath) {
    let text = each.path ?? ""
    switch each.pathType {
    case "": required(path["pathType"], "pathType must be specified")
    case "Exact", "Prefix":
      if !text.hasPrefix("/") { invalid(path["path"], text, "must be an absolute path") }
      for sequence in ["//", "/./", "/../", "%2f", "%2F"] where text.contains(sequence) {
        invalid(path["path"], text, "must not contain '\(sequence)'")
      }
      for suffix in ["/..", "/."] where text.hasSuffix(suffix) {
        invalid(path["path"], text, "cannot end with '\(suffix)'")
      }
    case "ImplementationSpecific":
      if !text.isEmpty, !text.hasPrefix("/") { invalid(path["path"], text, "must be an absolute path") }
    default: notSupported(path["pathType"], each.pathType, ["Exact", "ImplementationSpecific", "Prefix"])
    }
    ingressBackend(each.backend, path["backend"])
  }

  private mutating func ingressBackend(_ backend: IngressBackend, _ path: FieldPath) {
    switch (backend.resource, backend.service) {
    case (_?, _?): invalid(path, "", "cannot set both resource and service backends")
    case (let resource?, nil):
      if (resource.apiGroup ?? "").isEmpty { required(path["resource"]["apiGroup"], "ingress resources are typed") }
      if resource.kind.isEmpty { required(path["resource"]["kind"], "kind is required") }
      if resource.name.isEmpty { required(path["resource"]["name"], "name is required") }
    case (nil, let service?):
      if service.name.isEmpty {
        required(path["service"]["name"])
      } else {
        invalid(path["service"]["name"], service.name, NameRules.dns1035Label(service.name))
      }
      let (name, number) = (service.port.name ?? "", service.port.number ?? 0)
      if !name.isEmpty, number != 0 {
        invalid(path, "", "cannot set both port name & port number")
      } else if !name.isEmpty {
        invalid(path["service"]["port"]["name"], name, NameRules.portName(name))
      } else if number != 0 {
        portNumber(path["service"]["port"]["number"], number)
      } else {
        required(path, "port name or number is required")
      }
    case (nil, nil): invalid(path, "", "resource or service backend is required")
    }
  }

  mutating func updateIngress(_ new: Ingress, _ old: Ingress) {
    metadataUpdate(new.metadata, old.metadata)
    ingress(new)
  }

  mutating func ingressClass(_ ingress: IngressClass) {
    metadata(ingress.metadata, .clusterBySubdomain)
    let path = FieldPath("spec")
    let controller = ingress.spec.controller ?? ""
    if controller.utf8.count > 250 { tooLong(path["controller"], 250) }
    if controller.isEmpty { required(path["controller"]) } else { domainPath(path["controller"], controller) }
    guard let parameters = ingress.spec.parameters else { return }
    let at = path["parameters"]
    if parameters.kind.isEmpty { required(at["kind"], "kind is required") }
    if parameters.name.isEmpty { required(at["name"], "name is required") }
    switch parameters.scope {
    case "Cluster":
      if parameters.namespace != nil { forbidden(at["namespace"], "`parameters.scope` is set to 'Cluster'") }
    case "Namespace":
      if (parameters.namespace ?? "").isEmpty { required(at["namespace"], "`parameters.scope` is set to 'Namespace'") }
    case nil: required(at["scope"])
    case let other?: notSupported(at["scope"], other, ["Cluster", "Namespace"])
    }
  }

  mutating func updateIngressClass(_ new: IngressClass, _ old: IngressClass) {
    metadataUpdate(new.metadata, old.metadata)
    ingressClass(new)
    immutable(FieldPath("spec")["controller"], new.spec.controller, old.spec.controller)
  }

  /// `example.com/some/path`
  mutating func domainPath(_ path: FieldPath, _ value: String) {
    let parts = value.split(separator: "/", maxSplits: 1, omittingEmptySubsequences: false).map(String.init)
    guard parts.count == 2, !parts[0].isEmpty, !parts[1].isEmpty else {
      return invalid(path, value, "must be a domain-prefixed path (such as \"acme.io/foo\")")
    }
    invalid(path, parts[0], NameRules.dnsSubdomain(parts[0]))
    let isGood = parts[1].utf8.allSatisfy { Pattern.isAlphanumeric($0) || "/-._~%!$&'()*+,;=:".utf8.contains($0) }
    if !isGood {
      invalid(
        path, parts[1],
        [NameRules.pattern("Invalid path", #"^[A-Za-z0-9/\-._~%!$&'()*+,;=:]+$"#)])
    }
  }

  // MARK: network policies

  mutating func networkPolicy(_ policy: NetworkPolicy) {
    metadata(policy.metadata, .bySubdomain)
    let (spec, path) = (policy.spec, FieldPath("spec"))
    labelSelector(spec.podSelector, path["podSelector"])
    for (index, rule) in spec.ingress.enumerated() {
      policyPorts(rule.ports, path["ingress"][index]["ports"])
      policyPeers(rule.from, path["ingress"][index]["from"])
    }
    for (index, rule) in spec.egress.enumerated() {
      policyPorts(rule.ports, path["egress"][index]["ports"])
      policyPeers(rule.to, path["egress"][index]["to"])
    }
    if spec.policyTypes.count > 2 {
      invalid(path["policyTypes"], JSONValue(spec.policyTypes), "may not specify more than two policyTypes")
    } else {
      for (index, type) in spec.policyTypes.enumerated() where !["Egress", "Ingress"].contains(type) {
        notSupported(path["policyTypes"][index], type, ["Egress", "Ingress"])
      }
    }
  }

  private mutating func policyPorts(_ ports: [NetworkPolicyPort], _ path: FieldPath) {
    for (index, each) in ports.enumerated() {
      let at = path[index]
      choice(at["protocol"], each.protocol, of: ["SCTP", "TCP", "UDP"])
      if let port = each.port { self.port(at["port"], port) }
      guard let end = each.endPort else { continue }
      switch each.port {
      case nil: invalid(at["endPort"], end, "may not be specified when `port` is not specified")
      case .string?: invalid(at["endPort"], end, "may not be specified when `port` is non-numeric")
      case .int(let port)?:
        if end < port {
          invalid(at["endPort"], end, "must be greater than or equal to `port`")
        } else {
          portNumber(at["endPort"], end)
        }
      }
    }
  }

  private mutating func policyPeers(_ peers: [NetworkPolicyPeer], _ path: FieldPath) {
    for (index, peer) in peers.enumerated() {
      let at = path[index]
      labelSelector(peer.podSelector, at["podSelector"])
      labelSelector(peer.namespaceSelector, at["namespaceSelector"])
      let hasSelector = peer.podSelector != nil || peer.namespaceSelector != nil
      if let block = peer.ipBlock { addressBlock(block, at["ipBlock"]) }
      if peer.ipBlock == nil, !hasSelector {
        required(at, "must specify a peer")
      } else if peer.ipBlock != nil, hasSelector {
        forbidden(at, "may not specify both ipBlock and another peer")
      }
    }
  }

  private mutating func addressBlock(_ block: IPBlock, _ path: FieldPath) {
    if block.cidr.isEmpty { return required(path["cidr"]) }
    network(path["cidr"], block.cidr)
    guard let whole = NetworkText(block.cidr) else { return }
    for (index, text) in block.except.enumerated() {
      network(path["except"][index], text)
      guard let part = NetworkText(text) else { continue }
      if !part.isStrictlyWithin(whole) {
        invalid(path["except"][index], text, "must be a strict subset of `cidr`")
      }
    }
  }

  mutating func updateNetworkPolicy(_ new: NetworkPolicy, _ old: NetworkPolicy) {
    metadataUpdate(new.metadata, old.metadata)
    networkPolicy(new)
  }

  // MARK: endpoints

  mutating func endpoints(_ endpoints: Endpoints) {
    metadata(endpoints.metadata, .bySubdomain)
    for (index, subset) in endpoints.subsets.enumerated() {
      let path = FieldPath("subsets")[index]
      if subset.addresses.isEmpty, subset.notReadyAddresses.isEmpty {
        required(path, "must specify `addresses` or `notReadyAddresses`")
      }
      for (field, list) in [("addresses", subset.addresses), ("notReadyAddresses", subset.notReadyAddresses)] {
        for (number, each) in list.enumerated() {
          let at = path[field][number]
          endpointAddress(at["ip"], each.ip)
          if let hostname = each.hostname, !hostname.isEmpty { dnsLabel(at["hostname"], hostname) }
          if let node = each.nodeName { dnsSubdomain(at["nodeName"], node) }
        }
      }
      for (number, each) in subset.ports.enumerated() {
        let at = path["ports"][number]
        let name = each.name ?? ""
        if name.isEmpty, subset.ports.count > 1 { required(at["name"]) }
        if !name.isEmpty { dnsLabel(at["name"], name) }
        portNumber(at["port"], each.port)
        choice(at["protocol"], each.protocol, of: ["SCTP", "TCP", "UDP"])
        if let application = each.appProtocol { qualifiedName(at["appProtocol"], application) }
      }
    }
  }

  mutating func updateEndpoints(_ new: Endpoints, _ old: Endpoints) {
    metadataUpdate(new.metadata, old.metadata)
    endpoints(new)
  }
}

extension NetworkText {
  func isStrictlyWithin(_ whole: NetworkText) -> Bool {
    guard address.isV6 == whole.address.isV6, prefixLength > whole.prefixLength else { return false }
    for bit in 0..<whole.prefixLength {
      let mask: UInt8 = 0x80 >> UInt8(bit % 8)
      if address.bytes[bit / 8] & mask != whole.address.bytes[bit / 8] & mask { return false }
    }
    return true
  }
}
