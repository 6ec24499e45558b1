import JSON
import KubeModel
import ObjectStore

/// LimitRanges: https://kubernetes.io/docs/concepts/policy/limit-range/
extension APIServer {
  func limitRanges(_ namespace: String) -> [LimitRange] {
    store.list(prefix: "/limitranges/\(namespace)/").objects.compactMap { Self.decoded($0, as: LimitRange.self) }
  }

  /// Gives the containers of a new pod the amounts that the limits of its namespace say.
  func setLimits(_ object: inout JSONObject, _ context: RequestContext) {
    let ranges = limitRanges(context.namespace)
    guard !ranges.isEmpty else { return }
    var (limits, requests): ([String: Quantity], [String: Quantity]) = ([:], [:])
    for item in ranges.flatMap(\.spec.limits) where item.type == "Container" {
      limits.merge(item.default) { first, _ in first }
      requests.merge(item.defaultRequest) { first, _ in first }
    }
    guard !limits.isEmpty || !requests.isEmpty else { return }
    var told: [String] = []
    for list in ["containers", "initContainers"] {
      guard let containers = object[object: "spec"][list]?.array else { continue }
      object[object: "spec"][list] = .array(
        containers.map { container in
          guard var fields = container.object else { return container }
          var resources = fields[object: "resources"]
          let isInit = list == "initContainers"
          for (kind, amounts) in [("requests", requests), ("limits", limits)] {
            let added = Self.add(amounts, to: &resources, kind)
            guard !added.isEmpty else { continue }
            told.append(
              "\(added.joined(separator: ", ")) \(kind.dropLast()) for \(isInit ? "init container" : "container") "
                + container.text("name"))
          }
          if !resources.isEmpty { fields["resources"] = .object(resources) }
          return .object(fields)
        })
    }
    guard !told.isEmpty else { return }
    object[object: "metadata"][object: "annotations"]["kubernetes.io/limit-ranger"] = .string(
      "LimitRanger plugin set: \(told.joined(separator: "; "))")
  }

  private static func add(_ amounts: [String: Quantity], to resources: inout JSONObject, _ kind: String) -> [String] {
    var present = resources[object: kind]
    var added: [String] = []
    for (name, amount) in amounts.sorted(by: { $0.key < $1.key }) where present[name] == nil {
      // A limit that the container says is what it asks for, too.
      if kind == "requests", resources[object: "limits"][name] != nil { continue }
      present[name] = .string(amount.text)
      added.append(name)
    }
    if !added.isEmpty { resources[kind] = .object(present) }
    return added
  }

  // MARK: checks

  /// - Throws: `Forbidden` that names every limit that is not kept.
  func checkLimits(_ object: JSONObject, _ context: RequestContext) throws(APIStatus) {
    let ranges = limitRanges(context.namespace)
    guard !ranges.isEmpty else { return }
    var problems: [String] = []
    let document = JSONValue.object(object)
    for item in ranges.flatMap(\.spec.limits) {
      switch (context.resource.type.plural, item.type) {
      case ("pods", "Container"):
        guard let pod = Self.decoded(document, as: Pod.self) else { continue }
        for container in pod.spec.containers + pod.spec.initContainers {
          problems += Self.problems(item, container.resources.requests, container.resources.limits)
        }
      case ("pods", "Pod"):
        guard let pod = Self.decoded(document, as: Pod.self) else { continue }
        problems += Self.problems(item, Self.sum(pod, \.requests), Self.sum(pod, \.limits))
      case ("persistentvolumeclaims", "PersistentVolumeClaim"):
        guard let claim = Self.decoded(document, as: PersistentVolumeClaim.self) else { continue }
        problems += Self.claimProblems(item, claim.spec.resources.requests)
      default: continue
      }
    }
    guard !problems.isEmpty else { return }
    let text = problems.count == 1 ? problems[0] : "[\(problems.joined(separator: ", "))]"
    throw .forbidden(context.resource.qualified, ObjectMetadata(object).name, text)
  }

  private static func sum(
    _ pod: Pod, _ path: KeyPath<ResourceRequirements, [String: Quantity]>
  ) -> [String: Quantity] {
    var total: [String: Int64] = [:]
    for container in pod.spec.containers {
      for (name, amount) in container.resources[keyPath: path] {
        total[name] = (total[name] ?? 0).addingClamped(amount.milliValue)
      }
    }
    for container in pod.spec.initContainers {
      for (name, amount) in container.resources[keyPath: path] {
        if container.restartPolicy == "Always" {
          total[name] = (total[name] ?? 0).addingClamped(amount.milliValue)
        } else {
          total[name] = max(total[name] ?? 0, amount.milliValue)
        }
      }
    }
    let isBinary: Set<String> = ["memory", "ephemeral-storage"]
    return Dictionary(
      uniqueKeysWithValues: total.map { name, milli in
        let like = Quantity(isBinary.contains(name) ? "1Ki" : "1") ?? Quantity()
        return (name, QuotaUsage.quantity(milli: milli, like: like))
      })
  }

  private static func problems(
    _ item: LimitRangeItem, _ requests: [String: Quantity], _ limits: [String: Quantity]
  ) -> [String] {
    var problems: [String] = []
    for (name, least) in item.min.sorted(by: { $0.key < $1.key }) {
      let prefix = "minimum \(name) usage per \(item.type) is \(least.text)"
      guard let request = requests[name] else {
        problems.append("\(prefix).  No request is specified")
        continue
      }
      if request.milliValue < least.milliValue { problems.append("\(prefix), but request is \(request.text)") }
      if let limit = limits[name], limit.milliValue < least.milliValue {
        problems.append("\(prefix), but limit is \(limit.text)")
      }
    }
    for (name, most) in item.max.sorted(by: { $0.key < $1.key }) {
      let prefix = "maximum \(name) usage per \(item.type) is \(most.text)"
      guard let limit = limits[name] else {
        problems.append("\(prefix).  No limit is specified")
        continue
      }
      if limit.milliValue > most.milliValue { problems.append("\(prefix), but limit is \(limit.text)") }
      if let request = requests[name], request.milliValue > most.milliValue {
        problems.append("\(prefix), but request is \(request.text)")
      }
    }
    for (name, ratio) in item.maxLimitRequestRatio.sorted(by: { $0.key < $1.key }) {
      let prefix = "\(name) max limit to request ratio per \(item.type) is \(ratio.text)"
      guard let request = requests[name], let limit = limits[name], request.milliValue > 0 else {
        problems.append("\(prefix), but no request is specified or request is 0")
        continue
      }
      let found = Double(limit.milliValue) / Double(request.milliValue)
      if found > Double(ratio.milliValue) / 1000 {
        problems.append("\(prefix), but provided ratio is \(sixDigits(found))")
      }
    }
    return problems
  }

  /// With six digits after the point.
  private static func sixDigits(_ number: Double) -> String {
    let millionths = Int64(min(number, 1e12) * 1_000_000 + 0.5)
    let digits = String(millionths % 1_000_000)
    return "\(millionths / 1_000_000).\(String(repeating: "0", count: 6 - digits.count))\(digits)"
  }

  private static func claimProblems(_ item: LimitRangeItem, _ requests: [String: Quantity]) -> [String] {
    var problems: [String] = []
    let request = requests["storage"] ?? Quantity()
    if let least = item.min["storage"], request.milliValue < least.milliValue {
      problems.append("minimum storage usage per \(item.type) is \(least.text), but request is \(request.text)")
    }
    if let most = item.max["storage"], request.milliValue > most.milliValue {
      problems.append("maximum storage usage per \(item.type) is \(most.text), but request is \(request.text)")
    }
    return problems
  }
}
