import JSON
import KubeModel
import ObjectStore

/// Priorities of pods: https://kubernetes.io/docs/concepts/scheduling-eviction/pod-priority-preemption/
extension APIServer {
  /// The priority classes that every cluster has.
  static let systemPriorities: [(name: String, value: Int64, description: String)] = [
    (
      "system-node-critical", 2_000_001_000,
      "Used for system critical pods that must not be moved from their current node."
    ),
    (
      "system-cluster-critical", 2_000_000_000,
      "Used for system critical pods that must run in the cluster, but can be moved to another node if necessary."
    ),
  ]

  /// The system's priority classes as they are stored, where they are not there yet.
  func missingPriorityClasses(_ now: Int64) -> [(key: String, value: [UInt8])] {
    guard let resource = resources.resource(apiVersion: "scheduling.k8s.io/v1", plural: "priorityclasses") else {
      return []
    }
    return Self.systemPriorities.compactMap { each in
      let key = resource.key(namespace: "", name: each.name)
      guard store.get(key) == nil else { return nil }
      var metadata = Self.newMetadata(each.name, namespace: nil, now).object ?? [:]
      metadata["generation"] = 1
      let object: JSONObject = [
        "metadata": .object(metadata), "value": .integer(each.value), "description": .string(each.description),
        "preemptionPolicy": "PreemptLowerPriority",
      ]
      return (key, resource.stored(object))
    }
  }

  private static let priorityPrefix = "/priorityclasses.scheduling.k8s.io/"

  func setPriority(_ spec: inout JSONObject, _ context: RequestContext, _ name: String) throws(APIStatus) {
    var chosen: PriorityClass?
    let className = spec.text("priorityClassName")
    if className.isEmpty {
      chosen = defaultPriority()
      if let found = chosen?.metadata.name { spec["priorityClassName"] = .string(found) }
    } else if let stored = store.get(Self.priorityPrefix + className) {
      chosen = Self.decoded(stored, as: PriorityClass.self)
    } else if let system = Self.systemPriorities.first(where: { $0.name == className }) {
      var found = PriorityClass()
      found.value = Int32(clamping: system.value)
      chosen = found
    } else {
      throw .forbidden(context.resource.qualified, name, "no PriorityClass with name \(className) was found")
    }
    let priority = Int64(chosen?.value ?? 0)
    let policy = chosen?.preemptionPolicy ?? "PreemptLowerPriority"
    if let asked = spec["priority"]?.integer, asked != priority {
      throw .forbidden(
        context.resource.qualified, name,
        "the integer value of priority (\(asked)) must not be provided in pod spec; priority admission controller "
          + "computed \(priority) from the given PriorityClass name")
    }
    let askedPolicy = spec.text("preemptionPolicy")
    if !askedPolicy.isEmpty, askedPolicy != policy {
      throw .forbidden(
        context.resource.qualified, name,
        "the string value of PreemptionPolicy (\(askedPolicy)) must not be provided in pod spec; priority admission "
          + "controller computed \(policy) from the given PriorityClass name")
    }
    spec["priority"] = .integer(priority)
    spec["preemptionPolicy"] = .string(policy)
  }

  /// Of several default classes, the lowest.
  private func defaultPriority() -> PriorityClass? {
    store.list(prefix: Self.priorityPrefix).objects.compactMap { Self.decoded($0, as: PriorityClass.self) }
      .filter { $0.globalDefault == true }.min { ($0.value ?? 0) < ($1.value ?? 0) }
  }

  /// There is one class for pods that name none.
  func checkPriorityClass(_ object: JSONObject, _ context: RequestContext) throws(APIStatus) {
    guard object["globalDefault"]?.bool == true else { return }
    let name = ObjectMetadata(object).name
    if let other = defaultPriority()?.metadata.name, other != name {
      throw .forbidden(
        context.resource.qualified, name,
        "PriorityClass \(other) is already marked as default. Only one default can exist")
    }
  }
}
