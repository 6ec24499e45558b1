import JSON

enum ServicePrinter {
  static let printer = Printer(
    columns: [
      .name, Column("Type", "How the service is reached."),
      Column("Cluster-IP", "The address of the service within the cluster."),
      Column("External-IP", "The addresses of the service from outside."),
      Column("Port(s)", "Ports of the service, and those of the nodes that lead to it."), .age,
      Column("Selector", wide: true, "Which pods the service leads to."),
    ],
    cells: { service, now in
      let spec = service["spec"] ?? [:]
      let clusterIP = spec.list("clusterIPs").first?.string ?? spec.text("clusterIP")
      let selector = Selectors.equality(spec["selector"]).joined(separator: ",")
      return [
        service.name, .string(spec.text("type").orElse("ClusterIP")), .string(clusterIP.orElse("<none>")),
        .string(externalAddresses(service)), .string(ports(spec)), service.age(now),
        .string(selector.orElse("<none>")),
      ]
    })

  private static func externalAddresses(_ service: JSONValue) -> String {
    let spec = service["spec"] ?? [:]
    let external = spec.list("externalIPs").compactMap(\.string)
    switch spec.text("type") {
    case "ExternalName": return spec.text("externalName")
    case "LoadBalancer":
      let ingress = service["status"]?["loadBalancer"]?.list("ingress") ?? []
      let addresses = ingress.map { $0.text("ip").orElse($0.text("hostname")) } + external
      return addresses.joined(separator: ",").orElse("<pending>")
    default: return external.joined(separator: ",").orElse("<none>")
    }
  }

  private static func ports(_ spec: JSONValue) -> String {
    spec.list("ports").map { port in
      let node = port.integer("nodePort")
      return "\(port.integer("port"))\(node > 0 ? ":\(node)" : "")/\(port.text("protocol").orElse("TCP"))"
    }.joined(separator: ",").orElse("<none>")
  }
}
