import JSON

enum NodePrinter {
  static let printer = Printer(
    columns: [
      .name, Column("Status", "Whether the node is ready, and whether pods may be placed on it."),
      Column("Roles", "What the node's labels say it is for."), .age,
      Column("Version", "The version of the node's agent."),
      Column("Internal-IP", wide: true, "The address of the node within the cluster."),
      Column("External-IP", wide: true, "The address of the node from outside."),
      Column("OS-Image", wide: true, "The operating system."), Column("Kernel-Version", wide: true, "The kernel."),
      Column("Container-Runtime", wide: true, "What runs the containers, and its version."),
    ],
    cells: { node, now in
      let info = node["status"]?["nodeInfo"] ?? [:]
      return [
        node.name, .string(status(node)), .string(roles(node)), node.age(now), .string(info.text("kubeletVersion")),
        .string(address("InternalIP", node)), .string(address("ExternalIP", node)),
        .string(info.text("osImage").orElse("<unknown>")), .string(kernel(info)),
        .string(info.text("containerRuntimeVersion").orElse("<unknown>")),
      ]
    })

  private static func status(_ node: JSONValue) -> String {
    let ready = node["status"]?.list("conditions").last { $0.text("type") == "Ready" }
    let readiness = ready.map { $0.text("status") == "True" ? "Ready" : "NotReady" } ?? "Unknown"
    return node["spec"]?["unschedulable"]?.bool == true ? "\(readiness),SchedulingDisabled" : readiness
  }

  private static func roles(_ node: JSONValue) -> String {
    var roles: Set<String> = []
    let prefix = "node-role.kubernetes.io/"
    for (key, value) in node.metadata?["labels"]?.object?.members ?? [] {
      if key.hasPrefix(prefix) {
        roles.insert(String(key.dropFirst(prefix.count)))
      } else if key == "kubernetes.io/role" {
        roles.insert(value.string ?? "")
      }
    }
    return roles.filter { !$0.isEmpty }.sorted().joined(separator: ",").orElse("<none>")
  }

  private static func address(_ type: String, _ node: JSONValue) -> String {
    (node["status"]?.list("addresses").first { $0.text("type") == type }?.text("address") ?? "").orElse("<none>")
  }

  private static func kernel(_ info: JSONValue) -> String {
    let version = info.text("kernelVersion")
    if version.isEmpty { return "<unknown>" }
    let architecture = info.text("architecture")
    return architecture.isEmpty ? version : "\(version) (\(architecture))"
  }
}
