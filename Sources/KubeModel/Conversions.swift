package import JSON

/// Objects that are one in the store and have two forms in the API: events of `v1` and `events.k8s.io/v1`, autoscalers of
/// `autoscaling/v2` and `autoscaling/v1`. Pure; what is of a wrong type stays as it is.
package enum Conversions {
  /// A form that is only spoken: its objects are kept as `stored`.
  package struct Alias: Hashable, Sendable {
    package let apiVersion: String
    package let kind: String
    package let plural: String
    package let storedAPIVersion: String
  }

  package static let aliases: [Alias] = [
    Alias(apiVersion: "events.k8s.io/v1", kind: "Event", plural: "events", storedAPIVersion: "v1"),
    Alias(
      apiVersion: "autoscaling/v1", kind: "HorizontalPodAutoscaler", plural: "horizontalpodautoscalers",
      storedAPIVersion: "autoscaling/v2"),
  ]

  /// Nil where objects of this version are stored as they are.
  package static func alias(apiVersion: String, plural: String) -> Alias? {
    aliases.first { $0.apiVersion == apiVersion && $0.plural == plural }
  }

  /// The object as it is stored.
  package static func stored(_ object: JSONObject, from alias: Alias) -> JSONObject {
    var result = alias.kind == "Event" ? renamed(object, eventNames) : AutoscalerConversion.toVersion2(object)
    if object["apiVersion"] != nil { result["apiVersion"] = .string(alias.storedAPIVersion) }
    return result
  }

  /// A stored object as the alias says it.
  package static func spoken(_ object: JSONObject, as alias: Alias) -> JSONObject {
    var result = alias.kind == "Event" ? renamed(object, coreNames) : AutoscalerConversion.toVersion1(object)
    // The newer form writes its time even where nobody set it.
    if alias.kind == "Event", result["eventTime"] == nil { result["eventTime"] = .null }
    if object["apiVersion"] != nil { result["apiVersion"] = .string(alias.apiVersion) }
    return result
  }

  /// Field selectors of the spoken form, in the names of the stored one: `regarding.name`.
  package static func storedField(_ field: String, of alias: Alias) -> String {
    guard alias.kind == "Event" else { return field }
    if field.hasPrefix("regarding.") { return "involvedObject.\(field.dropFirst("regarding.".count))" }
    return eventNames[field] ?? field
  }

  /// From `events.k8s.io/v1` to `v1`.
  private static let eventNames = [
    "regarding": "involvedObject", "note": "message", "reportingController": "reportingComponent",
    "deprecatedSource": "source", "deprecatedFirstTimestamp": "firstTimestamp",
    "deprecatedLastTimestamp": "lastTimestamp", "deprecatedCount": "count",
  ]
  private static let coreNames = Dictionary(uniqueKeysWithValues: eventNames.map { ($0.value, $0.key) })

  private static func renamed(_ object: JSONObject, _ names: [String: String]) -> JSONObject {
    var result = JSONObject()
    result.reserveCapacity(object.count)
    for (key, value) in object.members { result[names[key] ?? key] = value }
    return result
  }
}

/// `autoscaling/v1` knows one metric; the others travel in annotations.
enum AutoscalerConversion {
  private static let prefix = "autoscaling.alpha.kubernetes.io/"
  private static let metricsKey = prefix + "metrics"
  private static let behaviorKey = prefix + "behavior"
  private static let conditionsKey = prefix + "conditions"

  static func toVersion2(_ object: JSONObject) -> JSONObject {
    var result = object
    var spec = object["spec"]?.object ?? JSONObject()
    var metrics: [JSONValue] = []
    if let percent = spec["targetCPUUtilizationPercentage"], !percent.isNull {
      metrics.append(resourceMetric("cpu", ["type": "Utilization", "averageUtilization": percent]))
    }
    spec["targetCPUUtilizationPercentage"] = nil
    var metadata = object["metadata"]?.object ?? JSONObject()
    var annotations = metadata["annotations"]?.object ?? JSONObject()
    if let others = parsed(annotations[metricsKey])?.array { metrics += others.compactMap(MetricForm.version2) }
    if let behavior = parsed(annotations[behaviorKey]), behavior.object != nil { spec["behavior"] = behavior }
    var status = object["status"]?.object
    if let conditions = parsed(annotations[conditionsKey]), conditions.array != nil {
      status?["conditions"] = conditions
    }
    for key in [metricsKey, behaviorKey, conditionsKey] { annotations[key] = nil }
    if metadata["annotations"] != nil {
      metadata["annotations"] = annotations.isEmpty ? nil : .object(annotations)
      result["metadata"] = .object(metadata)
    }
    if !metrics.isEmpty { spec["metrics"] = .array(metrics) }
    result["spec"] = .object(spec)
    if let percent = status?["currentCPUUtilizationPercentage"] {
      status?["currentCPUUtilizationPercentage"] = nil
      status?["currentMetrics"] = [
        ["type": "Resource", "resource": ["name": "cpu", "current": ["averageUtilization": percent]]]
      ]
    }
    if let status { result["status"] = .object(status) }
    return result
  }

  static func toVersion1(_ object: JSONObject) -> JSONObject {
    var result = object
    var spec = object["spec"]?.object ?? JSONObject()
    var added = JSONObject()
    var others: [JSONValue] = []
    for metric in spec["metrics"]?.array ?? [] {
      if let percent = cpuUtilization(metric), spec["targetCPUUtilizationPercentage"] == nil {
        spec["targetCPUUtilizationPercentage"] = percent
      } else if let older = MetricForm.version1(metric) {
        others.append(older)
      }
    }
    if !others.isEmpty { added[metricsKey] = .string(JSONValue.array(others).encodedString()) }
    if let behavior = spec["behavior"], !behavior.isNull { added[behaviorKey] = .string(behavior.encodedString()) }
    (spec["metrics"], spec["behavior"]) = (nil, nil)
    result["spec"] = .object(spec)
    if var status = object["status"]?.object {
      for metric in status["currentMetrics"]?.array ?? [] where metric["resource"]?["name"] == "cpu" {
        status["currentCPUUtilizationPercentage"] = metric["resource"]?["current"]?["averageUtilization"]
      }
      if let conditions = status["conditions"], conditions.array?.isEmpty == false {
        added[conditionsKey] = .string(conditions.encodedString())
      }
      (status["currentMetrics"], status["conditions"]) = (nil, nil)
      result["status"] = .object(status)
    }
    if !added.isEmpty {
      var metadata = object["metadata"]?.object ?? JSONObject()
      var annotations = metadata["annotations"]?.object ?? JSONObject()
      for (key, value) in added.members { annotations[key] = value }
      metadata["annotations"] = .object(annotations)
      result["metadata"] = .object(metadata)
    }
    return result
  }

  private static func resourceMetric(_ name: JSONValue, _ target: JSONValue) -> JSONValue {
    ["type": "Resource", "resource": ["name": name, "target": target]]
  }

  private static func cpuUtilization(_ metric: JSONValue) -> JSONValue? {
    guard metric["type"] == "Resource", metric["resource"]?["name"] == "cpu" else { return nil }
    return metric["resource"]?["target"]?["averageUtilization"]
  }

  private static func parsed(_ value: JSONValue?) -> JSONValue? {
    guard let text = value?.string else { return nil }
    return try? JSONValue.parse(text)
  }
}

/// A metric in the forms of either version: `target` of the newer one is spread over fields in the older.
private enum MetricForm {
  /// The part of a metric that its type names: `Resource` in `resource`.
  private static let parts = [
    "Resource": "resource", "ContainerResource": "containerResource", "Pods": "pods", "Object": "object",
    "External": "external",
  ]

  static func version1(_ metric: JSONValue) -> JSONValue? {
    guard let type = metric["type"]?.string, let key = parts[type], let part = metric[key] else { return nil }
    let target = part["target"]
    var older = JSONObject()
    switch type {
    case "Resource", "ContainerResource":
      older["name"] = part["name"]
      older["container"] = part["container"]
      older["targetAverageUtilization"] = target?["averageUtilization"]
      older["targetAverageValue"] = target?["averageValue"]
    default:
      older["metricName"] = part["metric"]?["name"]
      older[type == "External" ? "metricSelector" : "selector"] = part["metric"]?["selector"]
      older["target"] = part["describedObject"]
      older["targetValue"] = target?["value"]
      older[type == "Object" ? "averageValue" : "targetAverageValue"] = target?["averageValue"]
    }
    return ["type": .string(type), key: .object(older)]
  }

  static func version2(_ metric: JSONValue) -> JSONValue? {
    guard let type = metric["type"]?.string, let key = parts[type], let part = metric[key] else { return nil }
    var newer = JSONObject()
    var target = JSONObject()
    let average = part["targetAverageValue"] ?? part["averageValue"]
    if let percent = part["targetAverageUtilization"] {
      (target["type"], target["averageUtilization"]) = ("Utilization", percent)
    } else if let average {
      (target["type"], target["averageValue"]) = ("AverageValue", average)
    } else {
      (target["type"], target["value"]) = ("Value", part["targetValue"] ?? "0")
    }
    switch type {
    case "Resource", "ContainerResource":
      newer["name"] = part["name"]
      newer["container"] = part["container"]
    default:
      var identity = JSONObject()
      identity["name"] = part["metricName"]
      identity["selector"] = part["metricSelector"] ?? part["selector"]
      newer["metric"] = .object(identity)
      newer["describedObject"] = part["target"]
    }
    newer["target"] = .object(target)
    return ["type": .string(type), key: .object(newer)]
  }
}
