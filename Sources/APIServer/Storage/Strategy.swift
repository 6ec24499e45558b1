import JSON

/// What only one resource does; everything else follows from the table.
struct Strategy: Sendable {
  /// PUT of a name that does not exist makes the object.
  var allowsCreateOnUpdate = false
  /// PUT without a resourceVersion overwrites whatever is there.
  var allowsUnconditionalUpdate = true
  /// A deletion that is done answers with the object, not with a Status.
  var returnsDeleted = false
  /// Objects count the changes of their spec.
  var countsGenerations = false
  /// Members besides metadata that count as the spec for that.
  var isWholeSpec = false
  /// Fields that a selector may name besides metadata.name and metadata.namespace, with the way to them.
  var selectable: [String: [String]] = [:]

  static func of(group: String, resource: String) -> Strategy {
    switch (group, resource) {
    case ("", "pods"): pods
    case ("", "services"):
      Strategy(
        allowsCreateOnUpdate: true, returnsDeleted: true,
        selectable: ["spec.clusterIP": ["spec", "clusterIP"], "spec.type": ["spec", "type"]])
    case ("", "nodes"): Strategy(selectable: ["spec.unschedulable": ["spec", "unschedulable"]])
    case ("", "namespaces"): Strategy(returnsDeleted: true, selectable: ["status.phase": ["status", "phase"]])
    case ("", "secrets"): Strategy(selectable: ["type": ["type"]])
    case ("", "serviceaccounts"): Strategy(returnsDeleted: true)
    case ("", "events"): events
    case ("coordination.k8s.io", "leases"): Strategy(allowsCreateOnUpdate: true, allowsUnconditionalUpdate: false)
    case ("discovery.k8s.io", "endpointslices"): Strategy(countsGenerations: true, isWholeSpec: true)
    case ("apps", "replicasets"):
      Strategy(countsGenerations: true, selectable: ["status.replicas": ["status", "replicas"]])
    case ("", "replicationcontrollers"):
      Strategy(countsGenerations: true, selectable: ["status.replicas": ["status", "replicas"]])
    case ("batch", "jobs"):
      Strategy(countsGenerations: true, selectable: ["status.successful": ["status", "succeeded"]])
    case ("certificates.k8s.io", "certificatesigningrequests"):
      Strategy(selectable: ["spec.signerName": ["spec", "signerName"]])
    case ("admissionregistration.k8s.io", _), ("scheduling.k8s.io", _):
      Strategy(countsGenerations: true, isWholeSpec: true)
    case ("apps", _), ("batch", _), ("policy", _), ("networking.k8s.io", _), ("apiextensions.k8s.io", _):
      Strategy(countsGenerations: true)
    default: Strategy()
    }
  }

  private static let pods = Strategy(
    returnsDeleted: true, countsGenerations: true,
    selectable: [
      "spec.nodeName": ["spec", "nodeName"], "spec.restartPolicy": ["spec", "restartPolicy"],
      "spec.schedulerName": ["spec", "schedulerName"], "spec.serviceAccountName": ["spec", "serviceAccountName"],
      "spec.hostNetwork": ["spec", "hostNetwork"], "status.phase": ["status", "phase"],
      "status.podIP": ["status", "podIP"], "status.nominatedNodeName": ["status", "nominatedNodeName"],
    ])

  private static let events: Strategy = {
    var fields = ["type", "reason", "reportingComponent"].map { ($0, [$0]) }
    fields += ["kind", "namespace", "name", "uid", "apiVersion", "resourceVersion", "fieldPath"].map {
      ("involvedObject.\($0)", ["involvedObject", $0])
    }
    // `source` stands for the component of either generation of events.
    fields.append(("source", ["source", "component"]))
    return Strategy(allowsCreateOnUpdate: true, selectable: Dictionary(uniqueKeysWithValues: fields))
  }()

  /// - Throws: `BadRequest` for a field that cannot be selected by.
  func check(_ selector: FieldSelector) throws(APIStatus) {
    for term in selector.terms {
      if term.field == "metadata.name" || term.field == "metadata.namespace" { continue }
      guard selectable[term.field] != nil else { throw .badRequest("field label not supported: \(term.field)") }
    }
  }

  /// The values of the fields that selectors may name.
  func fields(of document: JSONValue) -> [String: String] {
    var fields = [
      "metadata.name": document.text("metadata", "name"), "metadata.namespace": document.text("metadata", "namespace"),
    ]
    for (name, path) in selectable {
      switch document.at(path) {
      case .string(let text): fields[name] = text
      case .bool(let flag): fields[name] = flag ? "true" : "false"
      case .integer(let number): fields[name] = String(number)
      case nil where Self.flags.contains(name): fields[name] = "false"
      case nil where name == "status.replicas": fields[name] = "0"
      default: fields[name] = ""
      }
    }
    return fields
  }

  private static let flags: Set<String> = ["spec.unschedulable", "spec.hostNetwork"]
}
