import JSON

/// Ingresses, policies, endpoints and ranges of addresses.
enum NetworkPrinters {
  static let all: [String: Printer] = [
    "networking.k8s.io/ingresses": ingresses, "networking.k8s.io/ingressclasses": ingressClasses,
    "networking.k8s.io/networkpolicies": networkPolicies, "networking.k8s.io/ipaddresses": addresses,
    "networking.k8s.io/servicecidrs": ranges, "/endpoints": endpoints,
  ]

  /// Of long lists, the first few are shown.
  private static let itemsShownMax = 3

  private static func shortened(_ items: [String]) -> String {
    let shown = items.prefix(itemsShownMax).joined(separator: ",")
    return items.count <= itemsShownMax ? shown : "\(shown) + \(items.count - itemsShownMax) more..."
  }

  private static let ingresses = Printer(
    columns: [
      .name, Column("Class", "Who serves it."), Column("Hosts", "The names that lead to it."),
      Column("Address", "Where it is reached."), Column("Ports", "The ports it is reached at."), .age,
    ],
    cells: { object, now in
      let spec = object["spec"] ?? [:]
      let hosts = spec.list("rules").map { $0.text("host") }.filter { !$0.isEmpty }
      let points = (object["status"]?["loadBalancer"]?.list("ingress") ?? []).map {
        $0.text("ip").orElse($0.text("hostname"))
      }
      return [
        object.name, .string(spec.text("ingressClassName").orElse("<none>")), .string(shortened(hosts).orElse("*")),
        .string(points.filter { !$0.isEmpty }.joined(separator: ",")),
        .string(spec.list("tls").isEmpty ? "80" : "80, 443"),
        object.age(now),
      ]
    })

  private static let ingressClasses = Printer(
    columns: [.name, Column("Controller", "Who serves it."), Column("Parameters", "How it is configured."), .age],
    cells: { object, now in
      var parameters = "<none>"
      if let reference = object["spec"]?["parameters"], reference.object != nil {
        let group = reference.text("apiGroup")
        parameters = "\(reference.text("kind"))\(group.isEmpty ? "" : ".\(group)")/\(reference.text("name"))"
      }
      return [object.name, .string(object["spec"]?.text("controller") ?? ""), .string(parameters), object.age(now)]
    })

  private static let networkPolicies = Printer(
    columns: [.name, Column("Pod-Selector", "Which pods it is for."), .age],
    cells: { object, now in
      [object.name, .string(Selectors.text(object["spec"]?["podSelector"])), object.age(now)]
    })

  private static let addresses = Printer(
    columns: [.name, Column("ParentRef", "Who has the address."), .age],
    cells: { object, now in
      let parent = object["spec"]?["parentRef"] ?? [:]
      let parts = [parent.text("group"), parent.text("resource"), parent.text("namespace"), parent.text("name")]
      return [object.name, .string(parts.filter { !$0.isEmpty }.joined(separator: "/")), object.age(now)]
    })

  private static let ranges = Printer(
    columns: [.name, Column("CIDRs", "The networks."), .age],
    cells: { object, now in
      let networks = (object["spec"]?.list("cidrs") ?? []).compactMap(\.string).joined(separator: ",")
      return [object.name, .string(networks), object.age(now)]
    })

  private static let endpoints = Printer(
    columns: [.name, Column("Endpoints", "The addresses that are ready."), .age],
    cells: { object, now in
      var found: [String] = []
      for subset in object.list("subsets") {
        let hosts = subset.list("addresses").map { $0.text("ip") }
        let ports = subset.list("ports")
        if ports.isEmpty { found += hosts }
        for port in ports { found += hosts.map { host(host: $0, port.integer("port")) } }
      }
      return [object.name, .string(shortened(found).orElse("<none>")), object.age(now)]
    })

  private static func host(host: String, _ port: Int64) -> String {
    host.contains(":") ? "[\(host)]:\(port)" : "\(host):\(port)"
  }
}
