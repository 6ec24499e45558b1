import JSON

/// Workloads beyond pods, deployments and replica sets.
enum WorkloadPrinters {
  static let all: [String: Printer] = [
    "/replicationcontrollers": replicationControllers, "/podtemplates": podTemplates,
    "apps/statefulsets": statefulSets, "apps/daemonsets": daemonSets, "apps/controllerrevisions": controllerRevisions,
    "batch/jobs": jobs, "batch/cronjobs": cronJobs, "policy/poddisruptionbudgets": disruptionBudgets,
    "autoscaling/horizontalpodautoscalers": Printers.converted(
      autoscalers, "autoscaling/v1", "horizontalpodautoscalers"),
  ]

  private static func number(_ name: String, _ description: String) -> Column {
    Column(name, type: "integer", description)
  }

  private static let replicationControllers = Printer(
    columns: [
      .name, number("Desired", "How many pods are wanted."), number("Current", "How many pods there are."),
      number("Ready", "How many pods are ready."), .age,
    ] + Printers.podColumns,
    cells: { object, now in
      let status = object["status"] ?? [:]
      let selector = Selectors.equality(object["spec"]?["selector"]).joined(separator: ",").orElse("<none>")
      return [
        object.name, .integer(object["spec"]?.integer("replicas") ?? 0), .integer(status.integer("replicas")),
        .integer(status.integer("readyReplicas")), object.age(now),
      ] + Printers.podCells(object["spec"]).prefix(2) + [.string(selector)]
    })

  private static let podTemplates = Printer(
    columns: [
      .name, Column("Containers", "The names of the containers."), Column("Images", "The images of the containers."),
      Column("Pod Labels", "The labels of pods made from the template."),
    ],
    cells: { object, _ in
      let labels = Selectors.equality(object["template"]?["metadata"]?["labels"]).joined(separator: ",")
      return [object.name] + Printers.podCells(object).prefix(2) + [.string(labels.orElse("<none>"))]
    })

  private static let statefulSets = Printer(
    columns: [.name, Column("Ready", "Pods that are ready, of those that are wanted."), .age]
      + Printers.podColumns.prefix(2),
    cells: { object, now in
      let ready = object["status"]?.integer("readyReplicas") ?? 0
      return [
        object.name, .string("\(ready)/\(object["spec"]?.integer("replicas") ?? 0)"), object.age(now),
      ] + Printers.podCells(object["spec"]).prefix(2)
    })

  private static let daemonSets = Printer(
    columns: [
      .name, number("Desired", "Nodes that should run a pod."), number("Current", "Nodes that run at least one pod."),
      number("Ready", "Nodes with a pod that is ready."),
      number("Up-to-date", "Nodes with a pod of the present template."),
      number("Available", "Nodes with a pod that has been ready for long enough."),
      Column("Node Selector", "Labels of the nodes that run pods."), .age,
    ] + Printers.podColumns,
    cells: { object, now in
      let status = object["status"] ?? [:]
      let nodes = Selectors.equality(object["spec"]?["template"]?["spec"]?["nodeSelector"]).joined(separator: ",")
      return [
        object.name, .integer(status.integer("desiredNumberScheduled")),
        .integer(status.integer("currentNumberScheduled")), .integer(status.integer("numberReady")),
        .integer(status.integer("updatedNumberScheduled")), .integer(status.integer("numberAvailable")),
        .string(nodes.orElse("<none>")), object.age(now),
      ] + Printers.podCells(object["spec"])
    })

  private static let controllerRevisions = Printer(
    columns: [
      .name, Column("Controller", "Whose state it is."), number("Revision", "A higher number is newer."), .age,
    ],
    cells: { object, now in
      let owner = (object["metadata"]?.list("ownerReferences") ?? []).first { $0["controller"]?.bool == true }
      return [
        object.name, .string(owner.map(controller) ?? "<none>"), .integer(object.integer("revision")), object.age(now),
      ]
    })

  /// `daemonset.apps/web`
  private static func controller(_ reference: JSONValue) -> String {
    let group = reference.text("apiVersion").split(separator: "/").dropLast().joined()
    let kind = reference.text("kind").lowercased()
    return "\(group.isEmpty ? kind : "\(kind).\(group)")/\(reference.text("name"))"
  }

  // MARK: jobs

  private static let jobs = Printer(
    columns: [
      .name, Column("Status", "Whether the job runs or how it ended."),
      Column("Completions", "Pods that succeeded, of those that must."),
      Column("Duration", "How long the job took or has been running."), .age,
    ] + Printers.podColumns,
    cells: { object, now in
      [
        object.name, .string(jobStatus(object)), .string(completions(object)), .string(duration(object, now)),
        object.age(now),
      ] + Printers.podCells(object["spec"])
    })

  private static func jobStatus(_ job: JSONValue) -> String {
    func holds(_ type: String) -> Bool {
      (job["status"]?.list("conditions") ?? []).contains { $0.text("type") == type && $0.text("status") == "True" }
    }
    for (condition, word) in [("Complete", "Complete"), ("Failed", "Failed")] where holds(condition) { return word }
    if job["metadata"]?["deletionTimestamp"]?.string != nil { return "Terminating" }
    for condition in ["Suspended", "FailureTarget", "SuccessCriteriaMet"] where holds(condition) { return condition }
    return "Running"
  }

  private static func completions(_ job: JSONValue) -> String {
    let succeeded = job["status"]?.integer("succeeded") ?? 0
    if let wanted = job["spec"]?["completions"]?.integer { return "\(succeeded)/\(wanted)" }
    let parallelism = job["spec"]?.integer("parallelism") ?? 0
    return parallelism > 1 ? "\(succeeded)/1 of \(parallelism)" : "\(succeeded)/1"
  }

  private static func duration(_ job: JSONValue, _ now: Int64) -> String {
    guard let start = seconds(job["status"]?["startTime"]) else { return "" }
    return HumanDuration.text(seconds: (seconds(job["status"]?["completionTime"]) ?? now) - start)
  }

  private static func seconds(_ time: JSONValue?) -> Int64? { HumanDuration.seconds(time) }

  private static let cronJobs = Printer(
    columns: [
      .name, Column("Schedule", "When jobs are made."), Column("Timezone", "Where the schedule's clock stands."),
      Column("Suspend", type: "boolean", "Whether no jobs are made for now."), number("Active", "Jobs that run."),
      Column("Last Schedule", "How long ago the last job was made."), .age,
    ] + Printers.podColumns,
    cells: { object, now in
      let (spec, status) = (object["spec"] ?? [:], object["status"] ?? [:])
      let last =
        status["lastScheduleTime"]?.string == nil ? "<none>" : HumanDuration.since(status["lastScheduleTime"], now: now)
      return [
        object.name, .string(spec.text("schedule")), .string(spec.text("timeZone").orElse("<none>")),
        .string(spec["suspend"]?.bool == true ? "True" : "False"), .integer(status.count("active")), .string(last),
        object.age(now),
      ] + Printers.podCells(spec["jobTemplate"]?["spec"])
    })

  // MARK: budgets and autoscalers

  private static func intOrString(_ value: JSONValue?, _ none: String) -> JSONValue {
    .string(value?.string ?? value?.integer.map { String($0) } ?? none)
  }

  private static let disruptionBudgets = Printer(
    columns: [
      .name, Column("Min Available", "Pods that must stay."), Column("Max Unavailable", "Pods that may be away."),
      number("Allowed Disruptions", "Pods that may be evicted now."), .age,
    ],
    cells: { object, now in
      [
        object.name, intOrString(object["spec"]?["minAvailable"], "N/A"),
        intOrString(object["spec"]?["maxUnavailable"], "N/A"),
        .integer(object["status"]?.integer("disruptionsAllowed") ?? 0), object.age(now),
      ]
    })

  private static let autoscalers = Printer(
    columns: [
      .name, Column("Reference", "What is scaled."), Column("Targets", "What is measured, and what is aimed at."),
      Column("MinPods", "Fewest pods."), number("MaxPods", "Most pods."), number("Replicas", "Pods there are."), .age,
    ],
    cells: { object, now in
      let (spec, status) = (object["spec"] ?? [:], object["status"] ?? [:])
      let target = spec["scaleTargetRef"] ?? [:]
      return [
        object.name, .string("\(target.text("kind"))/\(target.text("name"))"),
        .string(targets(spec.list("metrics"), status.list("currentMetrics"))),
        intOrString(spec["minReplicas"], "<unset>"), .integer(spec.integer("maxReplicas")),
        .integer(status.integer("currentReplicas")), object.age(now),
      ]
    })

  /// Of long lists, the first few are shown.
  private static let metricsShownMax = 2
  private static let parts = [
    "Resource": "resource", "ContainerResource": "containerResource", "Pods": "pods", "Object": "object",
    "External": "external",
  ]

  private static func targets(_ metrics: [JSONValue], _ current: [JSONValue]) -> String {
    if metrics.isEmpty { return "<none>" }
    let all = metrics.enumerated().map { index, metric -> String in
      let key = parts[metric.text("type")] ?? ""
      let part = metric[key] ?? [:]
      let now = (index < current.count ? current[index][key]?["current"] : nil) ?? [:]
      let aim = part["target"] ?? [:]
      let name = part.text("name")
      let prefix = name.isEmpty ? "" : "\(name): "
      if aim["averageUtilization"]?.integer != nil {
        let share = now["averageUtilization"]?.integer.map { "\($0)%" } ?? "<unknown>"
        return "\(prefix)\(share)/\(aim.integer("averageUtilization"))%"
      }
      for (field, suffix) in [("averageValue", key == "resource" ? "" : " (avg)"), ("value", "")]
      where !(aim[field]?.isNull ?? true) {
        let amount = now[field]?.string ?? "<unknown>"
        let wanted = aim[field]?.string ?? aim[field]?.encodedString() ?? ""
        return "\(prefix)\(amount)/\(wanted)\(key == "resource" || key == "pods" ? "" : suffix)"
      }
      return "<unknown type>"
    }
    let shown = all.prefix(metricsShownMax).joined(separator: ", ")
    return all.count <= metricsShownMax ? shown : "\(shown) + \(all.count - metricsShownMax) more..."
  }
}
