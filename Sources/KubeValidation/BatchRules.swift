import JSON
import KubeModel

/// Jobs and cron jobs.
extension FieldErrors {
  private static let parallelismOfIndexedMax: Int32 = 100_000
  private static let failureRulesMax = 20

  mutating func job(_ job: Job) {
    metadata(job.metadata, .bySubdomain)
    let (spec, path) = (job.spec, FieldPath("spec"))
    jobSpec(spec, path)
    if spec.completionMode == "Indexed", let name = job.metadata.name, let completions = spec.completions {
      // Pods of an indexed job are called by their index.
      let hostname = "\(name)-\(max(0, completions - 1))"
      if hostname.utf8.count > 63 {
        invalid(
          FieldPath("metadata")["name"], name,
          "will not able to create pod with invalid DNS label: \(hostname)")
      }
    }
    guard let selector = spec.selector else { return }
    labelSelector(selector, path["selector"])
    if spec.manualSelector != true, let uid = job.metadata.uid,
      selector.matchLabels["batch.kubernetes.io/controller-uid"] != uid
        && selector.matchLabels["controller-uid"] != uid
    {
      invalid(path["selector"], selector.json, "`selector` not auto-generated")
    }
    if !selector.matches(spec.template.metadata.labels) {
      invalid(
        path["template"]["metadata"]["labels"], JSONValue(spec.template.metadata.labels),
        "`selector` does not match template `labels`")
    }
  }

  private mutating func jobSpec(_ spec: JobSpec, _ path: FieldPath) {
    notNegative(path["parallelism"], spec.parallelism)
    notNegative(path["completions"], spec.completions)
    notNegative(path["activeDeadlineSeconds"], spec.activeDeadlineSeconds)
    notNegative(path["backoffLimit"], spec.backoffLimit)
    notNegative(path["ttlSecondsAfterFinished"], spec.ttlSecondsAfterFinished)
    notNegative(path["backoffLimitPerIndex"], spec.backoffLimitPerIndex)
    notNegative(path["maxFailedIndexes"], spec.maxFailedIndexes)
    if spec.manualSelector == true, spec.selector == nil { required(path["selector"]) }
    choice(path["completionMode"], spec.completionMode, of: ["NonIndexed", "Indexed"])
    indexed(spec, path)
    if let policy = spec.podFailurePolicy { podFailurePolicy(policy, spec, path["podFailurePolicy"]) }
    let replacements = spec.podFailurePolicy == nil ? ["Failed", "TerminatingOrFailed"] : ["Failed"]
    choice(path["podReplacementPolicy"], spec.podReplacementPolicy, of: replacements)
    if let manager = spec.managedBy {
      domainPath(path["managedBy"], manager)
      if manager.utf8.count > 63 { tooLong(path["managedBy"], 63) }
    }
    let at = path["template"]
    podTemplate(spec.template, at)
    switch spec.template.spec.restartPolicy ?? "" {
    case "", "Always": required(at["spec"]["restartPolicy"], "valid values: \"OnFailure\", \"Never\"")
    case "Never": break
    case "OnFailure":
      if spec.podFailurePolicy != nil {
        invalid(
          at["spec"]["restartPolicy"], "OnFailure", "only \"Never\" is supported when podFailurePolicy is specified")
      }
    case let other: notSupported(at["spec"]["restartPolicy"], other, ["OnFailure", "Never"])
    }
  }

  private mutating func indexed(_ spec: JobSpec, _ path: FieldPath) {
    if spec.completionMode == "Indexed" {
      if spec.completions == nil { required(path["completions"], "when completion mode is Indexed") }
      if let parallelism = spec.parallelism, parallelism > Self.parallelismOfIndexedMax {
        invalid(
          path["parallelism"], parallelism,
          "must be less than or equal to \(Self.parallelismOfIndexedMax) when completion mode is Indexed")
      }
      if let most = spec.maxFailedIndexes, let completions = spec.completions, most > completions {
        invalid(path["maxFailedIndexes"], most, "must be less than or equal to completions")
      }
    } else {
      if let limit = spec.backoffLimitPerIndex {
        invalid(path["backoffLimitPerIndex"], limit, "requires indexed completion mode")
      }
      if let policy = spec.successPolicy {
        invalid(path["successPolicy"], policy.json, "requires indexed completion mode")
      }
    }
    if spec.maxFailedIndexes != nil, spec.backoffLimitPerIndex == nil {
      required(path["backoffLimitPerIndex"], "when maxFailedIndexes is specified")
    }
    guard let policy = spec.successPolicy else { return }
    if policy.rules.isEmpty {
      required(
        path["successPolicy"]["rules"], "at least one rules must be specified when the successPolicy is specified")
    }
    for (index, rule) in policy.rules.enumerated() {
      let at = path["successPolicy"]["rules"][index]
      if rule.succeededCount == nil, rule.succeededIndexes == nil {
        required(at, "at least one of succeededCount or succeededIndexes must be specified")
      }
      if let count = rule.succeededCount, let completions = spec.completions, count > completions {
        invalid(
          at["succeededCount"], count,
          "must be less than or equal to \(completions) (the number of specified completions)")
      }
    }
  }

  private mutating func podFailurePolicy(_ policy: PodFailurePolicy, _ spec: JobSpec, _ path: FieldPath) {
    if policy.rules.count > Self.failureRulesMax {
      tooMany(path["rules"], policy.rules.count, Self.failureRulesMax)
    }
    let names = Set((spec.template.spec.containers + spec.template.spec.initContainers).map(\.name))
    for (index, rule) in policy.rules.enumerated() {
      let at = path["rules"][index]
      if rule.action.isEmpty {
        required(at["action"], "valid values: [\"Count\" \"FailIndex\" \"FailJob\" \"Ignore\"]")
      }
      choice(at["action"], rule.action, of: ["Count", "FailIndex", "FailJob", "Ignore"])
      if rule.action == "FailIndex", spec.backoffLimitPerIndex == nil {
        invalid(at["action"], rule.action, "requires the backoffLimitPerIndex to be set")
      }
      switch (rule.onExitCodes, rule.onPodConditions.isEmpty) {
      case (nil, true):
        invalid(
          at, rule.json, "specifying one of OnExitCodes and OnPodConditions is required")
      case (_?, false):
        invalid(at, rule.json, "specifying both OnExitCodes and OnPodConditions is not supported")
      case (let codes?, true): exitCodes(codes, names, at["onExitCodes"])
      case (nil, false):
        for (number, condition) in rule.onPodConditions.enumerated() {
          qualifiedName(at["onPodConditions"][number]["type"], condition.type)
          choice(at["onPodConditions"][number]["status"], condition.status, of: ["False", "True", "Unknown"])
        }
      }
    }
  }

  private mutating func exitCodes(
    _ codes: PodFailurePolicyOnExitCodesRequirement, _ names: Set<String>, _ path: FieldPath
  ) {
    choice(path["operator"], codes.operator, of: ["In", "NotIn"])
    if let name = codes.containerName, !names.contains(name) {
      invalid(path["containerName"], name, "must be one of the container or initContainer names in the pod template")
    }
    if codes.values.isEmpty { invalid(path["values"], .array([]), "at least one value is required") }
    if codes.operator == "In", let index = codes.values.firstIndex(of: 0) {
      invalid(path["values"][index], 0, "must not be 0 for the In operator")
    }
    if codes.values != Array(Set(codes.values)).sorted() {
      invalid(path["values"], .array(codes.values.map(\.json)), "must be ordered")
    }
  }

  mutating func updateJob(_ new: Job, _ old: Job) {
    metadataUpdate(new.metadata, old.metadata)
    job(new)
    let path = FieldPath("spec")
    let isElastic =
      old.spec.completionMode == "Indexed" && new.spec.completions == new.spec.parallelism
      && old.spec.completions == old.spec.parallelism
    if !isElastic { immutable(path["completions"], new.spec.completions, old.spec.completions) }
    immutable(path["selector"], new.spec.selector, old.spec.selector)
    immutable(path["template"], templateToCompare(new, old), old.spec.template)
    immutable(path["completionMode"], new.spec.completionMode, old.spec.completionMode)
    immutable(path["podFailurePolicy"], new.spec.podFailurePolicy, old.spec.podFailurePolicy)
    immutable(path["backoffLimitPerIndex"], new.spec.backoffLimitPerIndex, old.spec.backoffLimitPerIndex)
    immutable(path["managedBy"], new.spec.managedBy, old.spec.managedBy)
    immutable(path["successPolicy"], new.spec.successPolicy, old.spec.successPolicy)
  }

  /// A job that is suspended and has not begun may still be told where its pods go.
  private func templateToCompare(_ new: Job, _ old: Job) -> PodTemplateSpec {
    var template = new.spec.template
    guard old.spec.suspend == true, old.status.startTime == nil else { return template }
    let before = old.spec.template
    template.metadata.labels = before.metadata.labels
    template.metadata.annotations = before.metadata.annotations
    template.spec.nodeSelector = before.spec.nodeSelector
    template.spec.affinity = before.spec.affinity
    template.spec.tolerations = before.spec.tolerations
    template.spec.schedulingGates = before.spec.schedulingGates
    return template
  }

  mutating func updateJobStatus(_ new: Job, _ old: Job) {
    metadataUpdate(new.metadata, old.metadata)
    let (status, path) = (new.status, FieldPath("status"))
    notNegative(path["active"], status.active)
    notNegative(path["succeeded"], status.succeeded)
    notNegative(path["failed"], status.failed)
    notNegative(path["ready"], status.ready)
    notNegative(path["terminating"], status.terminating)
  }

  // MARK: cron jobs

  private static let cronJobNameMax = 52

  mutating func cronJob(_ cronJob: CronJob) {
    metadata(cronJob.metadata, .bySubdomain)
    let (spec, path) = (cronJob.spec, FieldPath("spec"))
    if let name = cronJob.metadata.name, name.utf8.count > Self.cronJobNameMax {
      invalid(FieldPath("metadata")["name"], name, "must be no more than \(Self.cronJobNameMax) characters")
    }
    if spec.schedule.isEmpty {
      required(path["schedule"])
    } else if spec.schedule.contains("TZ") {
      invalid(path["schedule"], spec.schedule, "cannot use TZ or CRON_TZ in schedule, use timeZone field instead")
    } else if let problem = CronText.problem(spec.schedule) {
      invalid(path["schedule"], spec.schedule, problem)
    }
    if let zone = spec.timeZone { timeZone(zone, path["timeZone"]) }
    notNegative(path["startingDeadlineSeconds"], spec.startingDeadlineSeconds)
    choice(path["concurrencyPolicy"], spec.concurrencyPolicy, of: ["Allow", "Forbid", "Replace"])
    notNegative(path["successfulJobsHistoryLimit"], spec.successfulJobsHistoryLimit)
    notNegative(path["failedJobsHistoryLimit"], spec.failedJobsHistoryLimit)
    let at = path["jobTemplate"]["spec"]
    labels(spec.jobTemplate.metadata.labels, path["jobTemplate"]["metadata"]["labels"])
    annotations(spec.jobTemplate.metadata.annotations, path["jobTemplate"]["metadata"]["annotations"])
    jobSpec(spec.jobTemplate.spec, at)
    if spec.jobTemplate.spec.selector != nil {
      invalid(
        at["selector"], spec.jobTemplate.spec.selector?.json ?? .null, "`selector` will be auto-generated")
    }
    if spec.jobTemplate.spec.manualSelector == true {
      notSupported(at["manualSelector"], .bool(true), ["nil", "false"])
    }
  }

  /// Whether the zone is known is for the machine that has the table of zones.
  private mutating func timeZone(_ zone: String, _ path: FieldPath) {
    if zone.isEmpty { return invalid(path, zone, "timeZone must be nil or non-empty string") }
    let isGood = zone.utf8.allSatisfy { Pattern.isNameByte($0) || $0 == UInt8(ascii: "/") || $0 == UInt8(ascii: "+") }
    if zone.lowercased() == "local" {
      return invalid(path, zone, "timeZone must be an explicit time zone as defined in https://www.iana.org/time-zones")
    }
    if !isGood || zone.contains("..") || zone.hasPrefix("/") { invalid(path, zone, "unknown time zone \(zone)") }
  }

  mutating func updateCronJob(_ new: CronJob, _ old: CronJob) {
    metadataUpdate(new.metadata, old.metadata)
    cronJob(new)
  }
}

/// Times at which cron jobs run: five fields, or a word that stands for them.
enum CronText {
  private struct Field {
    let low: Int
    let high: Int
    var names: [String] = []
  }

  private static let fields = [
    Field(low: 0, high: 59), Field(low: 0, high: 23), Field(low: 1, high: 31),
    Field(
      low: 1, high: 12,
      names: ["", "jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"]),
    Field(low: 0, high: 6, names: ["sun", "mon", "tue", "wed", "thu", "fri", "sat"]),
  ]
  private static let words: Set<String> = [
    "@yearly", "@annually", "@monthly", "@weekly", "@daily", "@midnight", "@hourly",
  ]

  /// Why the text is no schedule; nil where it is one.
  static func problem(_ text: String) -> String? {
    if text.hasPrefix("@") {
      if words.contains(text) || text.hasPrefix("@every ") { return nil }
      return "unrecognized descriptor: \(text)"
    }
    let parts = text.split(whereSeparator: \.isWhitespace).map(String.init)
    guard parts.count == fields.count else {
      return "expected exactly 5 fields, found \(parts.count): [\(parts.joined(separator: " "))]"
    }
    for (part, field) in zip(parts, fields) {
      for item in part.split(separator: ",") {
        if let problem = problem(String(item), field) { return problem }
      }
    }
    return nil
  }

  private static func problem(_ text: String, _ field: Field) -> String? {
    let halves = text.split(separator: "/", omittingEmptySubsequences: false).map(String.init)
    guard halves.count <= 2 else { return "too many slashes: \(text)" }
    let ends = halves[0].split(separator: "-", omittingEmptySubsequences: false).map(String.init)
    guard ends.count <= 2 else { return "too many hyphens: \(text)" }
    var (low, high) = (field.low, field.high)
    if ends[0] != "*", ends[0] != "?" {
      guard let first = number(ends[0], field) else { return unreadable(ends[0]) }
      low = first
      high = first
      if ends.count == 2 {
        guard let last = number(ends[1], field) else { return unreadable(ends[1]) }
        high = last
      } else if halves.count == 2 {
        high = field.high
      }
    }
    if halves.count == 2 {
      guard let step = Int(halves[1]) else { return unreadable(halves[1]) }
      if step == 0 { return "step of range should be a positive number: \(text)" }
    }
    if low < field.low { return "beginning of range (\(low)) below minimum (\(field.low)): \(text)" }
    if high > field.high { return "end of range (\(high)) above maximum (\(field.high)): \(text)" }
    if low > high { return "beginning of range (\(low)) beyond end of range (\(high)): \(text)" }
    return nil
  }

  private static func number(_ text: String, _ field: Field) -> Int? {
    if !text.isEmpty, let index = field.names.firstIndex(of: text.lowercased()) { return index }
    return Int(text).flatMap { $0 < 0 ? nil : $0 }
  }

  private static func unreadable(_ text: String) -> String {
    "failed to parse int from \(text): strconv.Atoi: parsing \"\(text)\": invalid syntax"
  }
}
