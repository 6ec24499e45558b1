import JSON
import KubeModel

/// The printers of all resources.
enum Printers {
  static func printer(of resource: ResourceType) -> Printer {
    let name = "\(resource.group)/\(resource.plural)"
    return all[name] ?? WorkloadPrinters.all[name] ?? StoragePrinters.all[name] ?? AccessPrinters.all[name]
      ?? NetworkPrinters.all[name] ?? plain
  }

  /// What has no columns of its own.
  private static let plain = Printer(
    columns: [.name, Column("Created At", type: "date", "When the object was created.")],
    cells: { object, _ in [object.name, object.metadata?["creationTimestamp"] ?? ""] })

  private static let all: [String: Printer] = [
    "/pods": PodPrinter.printer, "/nodes": NodePrinter.printer, "/services": ServicePrinter.printer,
    "apps/deployments": deployments, "apps/replicasets": replicaSets, "/namespaces": namespaces,
    "/configmaps": configMaps, "/secrets": secrets, "/serviceaccounts": serviceAccounts, "/events": events,
    "events.k8s.io/events": converted(events, "events.k8s.io/v1", "events"),
    "coordination.k8s.io/leases": leases, "discovery.k8s.io/endpointslices": endpointSlices,
  ]

  private static let namespaces = Printer(
    columns: [.name, Column("Status", "Whether the namespace is in use or being removed."), .age],
    cells: { object, now in [object.name, .string(object["status"]?.text("phase") ?? ""), object.age(now)] })

  private static let configMaps = Printer(
    columns: [.name, Column("Data", "How many keys there are."), .age],
    cells: { object, now in
      [object.name, .integer(object.count("data") + object.count("binaryData")), object.age(now)]
    })

  private static let secrets = Printer(
    columns: [
      .name, Column("Type", "What the data is for."), Column("Data", "How many keys there are."), .age,
    ],
    cells: { object, now in
      [object.name, .string(object.text("type")), .integer(object.count("data")), object.age(now)]
    })

  private static let serviceAccounts = Printer(
    columns: [.name, Column("Secrets", "How many secrets pods of this account may use."), .age],
    cells: { object, now in [object.name, .integer(object.count("secrets")), object.age(now)] })

  private static let leases = Printer(
    columns: [.name, Column("Holder", "Who holds the lease."), .age],
    cells: { object, now in
      [object.name, .string(object["spec"]?.text("holderIdentity") ?? ""), object.age(now)]
    })

  // MARK: workloads

  static let podColumns = [
    Column("Containers", wide: true, "The names of the containers in the template."),
    Column("Images", wide: true, "The images of the containers in the template."),
    Column("Selector", wide: true, "Which pods belong to the object."),
  ]

  static func podCells(_ spec: JSONValue?) -> [JSONValue] {
    let containers = spec?["template"]?["spec"]?.list("containers") ?? []
    return [
      .string(containers.map { $0.text("name") }.joined(separator: ",")),
      .string(containers.map { $0.text("image") }.joined(separator: ",")),
      .string(Selectors.text(spec?["selector"])),
    ]
  }

  private static let deployments = Printer(
    columns: [
      .name, Column("Ready", "Pods that are ready, of those that are wanted."),
      Column("Up-to-date", "Pods that are made from the present template."),
      Column("Available", "Pods that have been ready for long enough."), .age,
    ] + podColumns,
    cells: { object, now in
      let status = object["status"] ?? [:]
      let wanted = object["spec"]?.integer("replicas") ?? 0
      return [
        object.name, .string("\(status.integer("readyReplicas"))/\(wanted)"),
        .integer(status.integer("updatedReplicas")), .integer(status.integer("availableReplicas")), object.age(now),
      ] + podCells(object["spec"])
    })

  private static let replicaSets = Printer(
    columns: [
      .name, Column("Desired", type: "integer", "How many pods are wanted."),
      Column("Current", type: "integer", "How many pods there are."),
      Column("Ready", type: "integer", "How many pods are ready."), .age,
    ] + podColumns,
    cells: { object, now in
      let status = object["status"] ?? [:]
      return [
        object.name, .integer(object["spec"]?.integer("replicas") ?? 0), .integer(status.integer("replicas")),
        .integer(status.integer("readyReplicas")), object.age(now),
      ] + podCells(object["spec"])
    })

  /// A printer of stored objects, for those in a form that is only spoken.
  static func converted(_ printer: Printer, _ apiVersion: String, _ plural: String) -> Printer {
    guard let alias = Conversions.alias(apiVersion: apiVersion, plural: plural) else { return printer }
    return Printer(
      columns: printer.columns,
      cells: { object, now in
        guard object["apiVersion"] == .string(alias.apiVersion), let members = object.object else {
          return printer.cells(object, now)
        }
        return printer.cells(.object(Conversions.stored(members, from: alias)), now)
      })
  }

  // MARK: events

  static let events = Printer(
    columns: [
      Column("Last Seen", "When this last happened."), Column("Type", "Normal or Warning."),
      Column("Reason", "A word for what happened."), Column("Object", "What it happened to."),
      Column("Subobject", wide: true, "Which part of the object."),
      Column("Source", wide: true, "Who reported it."), Column("Message", "What happened, for people."),
      Column("First Seen", wide: true, "When this first happened."),
      Column("Count", wide: true, "How many times it happened."),
      Column("Name", format: "name", wide: true, Column.name.description),
    ],
    cells: { object, now in
      let first = object["firstTimestamp"]?.string == nil ? object["eventTime"] : object["firstTimestamp"]
      var last = object["lastTimestamp"]?.string == nil ? first : object["lastTimestamp"]
      var count = max(object.integer("count"), 1)
      if let series = object["series"], series.object != nil {
        last = series["lastObservedTime"]
        count = series.integer("count")
      }
      let about = object["involvedObject"] ?? [:]
      let kind = about.text("kind").lowercased()
      let target = about.text("name").isEmpty ? kind : "\(kind)/\(about.text("name"))"
      return [
        .string(HumanDuration.since(last, now: now)), .string(object.text("type")), .string(object.text("reason")),
        .string(target), .string(about.text("fieldPath")), .string(source(object)),
        .string(object.text("message").trimmed), .string(HumanDuration.since(first, now: now)), .integer(count),
        object.name,
      ]
    })

  private static func source(_ event: JSONValue) -> String {
    let source = event["source"] ?? [:]
    let component = source.text("component").orElse(event.text("reportingComponent"))
    let host = source.text("host").orElse(event.text("reportingInstance"))
    return [component, host].filter { !$0.isEmpty }.joined(separator: ", ")
  }

  // MARK: endpoint slices

  /// Of long lists, the first few are shown.
  private static let itemsShownMax = 3

  private static let endpointSlices = Printer(
    columns: [
      .name, Column("AddressType", "IPv4, IPv6 or FQDN."), Column("Ports", "The ports that every endpoint serves."),
      Column("Endpoints", "The addresses of the endpoints."), .age,
    ],
    cells: { object, now in
      let ports = object.list("ports").map { port in
        port["port"]?.integer.map { String($0) } ?? port.text("name").orElse("*")
      }
      let addresses = object.list("endpoints").flatMap { $0.list("addresses").compactMap(\.string) }
      return [
        object.name, .string(object.text("addressType")), .string(shortened(ports)), .string(shortened(addresses)),
        object.age(now),
      ]
    })

  private static func shortened(_ items: [String]) -> String {
    if items.isEmpty { return "<unset>" }
    let shown = items.prefix(itemsShownMax).joined(separator: ",")
    return items.count <= itemsShownMax ? shown : "\(shown) + \(items.count - itemsShownMax) more..."
  }
}

/// Selectors as people write them.
enum Selectors {
  /// `app=web,tier in (a,b)`
  static func text(_ selector: JSONValue?) -> String {
    var parts = equality(selector?["matchLabels"])
    for requirement in selector?.list("matchExpressions") ?? [] {
      let key = requirement.text("key")
      let values = requirement.list("values").compactMap(\.string).sorted().joined(separator: ",")
      switch requirement.text("operator") {
      case "In": parts.append("\(key) in (\(values))")
      case "NotIn": parts.append("\(key) notin (\(values))")
      case "Exists": parts.append(key)
      case "DoesNotExist": parts.append("!\(key)")
      default: parts.append("<error>")
      }
    }
    return parts.isEmpty ? "<none>" : parts.joined(separator: ",")
  }

  static func equality(_ labels: JSONValue?) -> [String] {
    (labels?.object?.members ?? []).map { "\($0.key)=\($0.value.string ?? "")" }.sorted()
  }
}

extension String {
  var trimmed: String {
    String(drop(while: \.isWhitespace).reversed().drop(while: \.isWhitespace).reversed())
  }
}
