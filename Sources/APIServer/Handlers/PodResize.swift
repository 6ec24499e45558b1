import JSON
import KubeModel
import KubeValidation

/// pods/resize: other CPU and memory for the containers of a pod that runs.
/// https://kubernetes.io/docs/tasks/configure-pod-container/resize-container-resources/
extension APIServer {
  private static let lists = ["containers", "initContainers"]
  private static let resizable = ["cpu", "memory"]

  /// The stored pod with the containers of the wanted one: nothing else is taken from it.
  static func resized(_ wanted: JSONObject, old: JSONObject) -> JSONObject {
    var object = old
    for list in lists {
      guard let containers = wanted[object: "spec"][list] else { continue }
      object[object: "spec"][list] = containers
    }
    return object
  }

  static func resizeErrors(_ object: JSONObject, old: JSONObject) -> [FieldError] {
    var errors: [FieldError] = []
    for list in lists { errors += containerErrors(list, object, old) }
    guard errors.isEmpty else { return errors }
    guard let pod = decoded(.object(object), as: Pod.self), let before = decoded(.object(old), as: Pod.self) else {
      return Validation.create(document: creatable(object))
    }
    let (now, was) = (qosClass(object[object: "spec"]), qosClass(old[object: "spec"]))
    if now != was {
      errors.append(
        FieldError(
          path: "spec", reason: .invalid, value: .string(now),
          detail: "Pod QOS Class may not change as a result of resizing"))
    }
    errors += amountErrors(pod.spec, before.spec)
    return errors + Validation.create(document: creatable(object))
  }

  private static func containers(_ object: JSONObject, _ list: String) -> [JSONValue] {
    object[object: "spec"][list]?.array ?? []
  }

  /// What of the containers is another than it may be.
  private static func containerErrors(_ list: String, _ object: JSONObject, _ old: JSONObject) -> [FieldError] {
    func refused(_ detail: String) -> [FieldError] {
      [FieldError(path: "spec", reason: .forbidden, detail: detail)]
    }
    let (now, before) = (containers(object, list), containers(old, list))
    guard now.map({ $0.text("name") }) == before.map({ $0.text("name") }) else {
      return [
        FieldError(
          path: "spec.\(list)", reason: .forbidden, detail: "containers may not be renamed or reordered on resize")
      ]
    }
    for (container, known) in zip(now, before) {
      let isRunning = list == "containers" || known.text("restartPolicy") == "Always"
      if !isRunning, container != known {
        return refused("only cpu and memory resources for sidecar containers are mutable")
      }
      guard Self.withoutAmounts(container, known) == known else {
        let what = list == "containers" ? "resources" : "resources for sidecar containers"
        return refused("only cpu and memory \(what) are mutable")
      }
    }
    return []
  }

  /// The container with the known one's CPU and memory.
  private static func withoutAmounts(_ container: JSONValue, _ known: JSONValue) -> JSONValue {
    guard var fields = container.object else { return container }
    var resources = fields["resources"]?.object ?? JSONObject()
    let former = known["resources"]?.object
    for part in ["limits", "requests"] {
      var amounts = resources[part]?.object ?? JSONObject()
      for name in resizable { amounts[name] = former?[part]?[name] }
      resources[part] = amounts.isEmpty && former?[part] == nil ? nil : .object(amounts)
    }
    fields["resources"] = resources.isEmpty && known["resources"] == nil ? nil : .object(resources)
    // The order of what is in it says nothing.
    if fields["resources"] != known["resources"], same(resources, former ?? JSONObject()) {
      fields["resources"] = known["resources"]
    }
    return .object(fields)
  }

  private static func same(_ one: JSONObject, _ other: JSONObject) -> Bool {
    ["limits", "requests"].allSatisfy { part in
      (one[part]?.stringMap ?? [:]) == (other[part]?.stringMap ?? [:])
    } && one["claims"] == other["claims"]
  }

  private static func amountErrors(_ new: PodSpec, _ old: PodSpec) -> [FieldError] {
    let pairs = zip(new.containers + new.initContainers, old.containers + old.initContainers)
    var errors: [FieldError] = []
    func refuse(_ detail: String) {
      errors.append(FieldError(path: "spec", reason: .forbidden, detail: detail))
    }
    for (container, former) in pairs {
      for name in resizable {
        if former.resources.limits[name] != nil, container.resources.limits[name] == nil {
          refuse("resource limits cannot be removed")
        }
        if former.resources.requests[name] != nil, container.resources.requests[name] == nil {
          refuse("resource requests cannot be removed")
        }
      }
    }
    return errors
  }

  /// Held to the rules of creation, but for what comes to a pod only later.
  private static func creatable(_ object: JSONObject) -> JSONValue {
    var object = object
    object[object: "spec"]["ephemeralContainers"] = nil
    return .object(object)
  }
}
