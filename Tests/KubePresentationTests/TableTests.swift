import JSON
import KubeModel
import KubePresentation
import KubeSchema
import TestSupport
import Testing
import YAML

/// 2026-01-01T01:00:00Z
private let now: Int64 = 1_767_229_200

private func resource(_ group: String, _ plural: String) -> ResourceType {
  ResourceType(group: group, version: "v1", plural: plural, kind: "", isNamespaced: true)
}

/// What `kubectl get -o wide` would print, a bar between cells.
private func printed(_ table: JSONValue) -> String {
  let head = (table["columnDefinitions"]?.array ?? []).map { column in
    (column["name"]?.string ?? "").uppercased() + (column["priority"]?.integer == 0 ? "" : "*")
  }
  let rows = (table["rows"]?.array ?? []).map { row in
    (row["cells"]?.array ?? []).map { $0.string ?? $0.encodedString() }
  }
  return ([head] + rows).map { $0.joined(separator: " | ") }.joined(separator: "\n")
}

private func table(_ group: String, _ plural: String, _ documents: String) throws -> JSONValue {
  TablePresenter.table(
    resource: resource(group, plural), objects: try YAML.parse(documents), listMeta: ["resourceVersion": "7"], now: now)
}

@Suite struct TableTests {
  static let durations: [(Int64, String)] = [
    (-2, "<invalid>"), (-1, "0s"), (0, "0s"), (119, "119s"), (120, "2m"), (121, "2m1s"), (599, "9m59s"), (600, "10m"),
    (10_799, "179m"), (10_800, "3h"), (10_860, "3h1m"), (28_800, "8h"), (172_799, "47h"), (172_800, "2d"),
    (176_400, "2d1h"), (691_200, "8d"), (63_071_999, "729d"), (63_072_000, "2y"), (63_158_400, "2y1d"),
    (252_288_000, "8y"),
  ]
  @Test(arguments: durations) func durationsAreShort(_ seconds: Int64, _ text: String) {
    #expect(HumanDuration.text(seconds: seconds) == text)
  }

  static let pods: [(String, String)] = [
    ("{phase: Pending}", "0/2 Pending 0"),
    ("{phase: Pending, conditions: [{type: PodScheduled, reason: SchedulingGated}]}", "0/2 SchedulingGated 0"),
    ("{phase: Failed, reason: Evicted}", "0/2 Evicted 0"),
    (
      "{phase: Pending, containerStatuses: [{name: a, state: {waiting: {reason: ContainerCreating}}}]}",
      "0/2 ContainerCreating 0"
    ),
    (
      "{phase: Running, containerStatuses: [{name: a, ready: true, state: {running: {}}}, {name: b, ready: true, state: {running: {}}}]}",
      "2/2 Running 0"
    ),
    (
      """
      {phase: Running, containerStatuses: [{name: a, restartCount: 3, state: {waiting: {reason: CrashLoopBackOff}},
       lastState: {terminated: {finishedAt: '2026-01-01T00:58:00Z'}}}, {name: b, ready: true, state: {running: {}}}]}
      """, "1/2 CrashLoopBackOff 3 (2m ago)"
    ),
    (
      "{phase: Succeeded, containerStatuses: [{name: a, state: {terminated: {reason: Completed, exitCode: 0}}}]}",
      "0/2 Completed 0"
    ),
    ("{phase: Failed, containerStatuses: [{name: a, state: {terminated: {exitCode: 3}}}]}", "0/2 ExitCode:3 0"),
    (
      "{phase: Failed, containerStatuses: [{name: a, state: {terminated: {exitCode: 137, signal: 9}}}]}",
      "0/2 Signal:9 0"
    ),
    (
      "{phase: Running, conditions: [{type: Ready, status: 'True'}], containerStatuses: [{name: a, state: {terminated: {reason: Completed}}}, {name: b, ready: true, state: {running: {}}}]}",
      "1/2 Running 0"
    ),
    (
      "{phase: Running, containerStatuses: [{name: a, state: {terminated: {reason: Completed}}}, {name: b, ready: true, state: {running: {}}}]}",
      "1/2 NotReady 0"
    ),
    ("{phase: Pending, initContainerStatuses: [{name: i, state: {running: {}}}]}", "0/2 Init:0/2 0"),
    (
      "{phase: Pending, initContainerStatuses: [{name: i, state: {terminated: {exitCode: 0}}}, {name: j, state: {waiting: {reason: PodInitializing}}}]}",
      "0/2 Init:1/2 0"
    ),
    (
      "{phase: Pending, initContainerStatuses: [{name: i, restartCount: 2, state: {waiting: {reason: CrashLoopBackOff}}}]}",
      "0/2 Init:CrashLoopBackOff 2"
    ),
    (
      "{phase: Pending, initContainerStatuses: [{name: i, state: {terminated: {exitCode: 1, reason: Error}}}]}",
      "0/2 Init:Error 0"
    ),
    (
      "{phase: Pending, initContainerStatuses: [{name: i, state: {terminated: {exitCode: 1}}}]}",
      "0/2 Init:ExitCode:1 0"
    ),
  ]
  @Test(arguments: pods) func theStatusOfAPodTellsWhyItDoesNotRun(_ status: String, _ expected: String) throws {
    let pod = """
      metadata: {name: p}
      spec: {containers: [{name: a}, {name: b}], initContainers: [{name: i}, {name: j}]}
      status: \(status.replacing("\n", with: " "))
      """
    let cells = try table("", "pods", pod)["rows"]?[0]?["cells"]?.array ?? []
    #expect(cells[1...3].map { $0.string ?? "" }.joined(separator: " ") == expected)
  }

  static let ending: [(String, String)] = [
    ("{phase: Running}", "Terminating"), ("{phase: Running, reason: NodeLost}", "Unknown"),
    ("{phase: Succeeded}", "Succeeded"),
  ]
  @Test(arguments: ending) func aPodThatIsBeingDeletedSaysSo(_ status: String, _ expected: String) throws {
    let pod =
      "{metadata: {name: p, deletionTimestamp: '2026-01-01T00:00:00Z'}, spec: {containers: [{name: a}]}, status: \(status)}"
    #expect(try table("", "pods", pod)["rows"]?[0]?["cells"]?[2] == .string(expected))
  }

  @Test func containersThatStayCountAmongTheOthers() throws {
    let pod = """
      metadata: {name: p}
      spec: {containers: [{name: a}], initContainers: [{name: log, restartPolicy: Always}]}
      status:
        phase: Running
        initContainerStatuses: [{name: log, ready: true, started: true, restartCount: 1, state: {running: {}}}]
        containerStatuses: [{name: a, ready: true, restartCount: 1, state: {running: {}}}]
      """
    let cells = try table("", "pods", pod)["rows"]?[0]?["cells"]
    #expect(cells?[1] == "2/2")
    #expect(cells?[3] == "2")
  }

  @Test func tablesShowWhatKubectlShows() throws {
    let samples = try YAML.parse(Samples.text)
    var text = ""
    for sample in samples {
      let (group, plural) = (sample["group"]?.string ?? "", sample["resource"]?.string ?? "")
      let table = TablePresenter.table(
        resource: resource(group, plural), objects: sample["objects"]?.array ?? [], listMeta: [:], now: now)
      text += "\(plural)\n\(printed(table))\n\n"
    }
    try Golden.check(text, named: "tables.txt")
  }

  @Test(arguments: Schema.kubernetes.resources.filter { $0.verbs.contains("list") }.map(\.name))
  func everyRowHasACellForEveryColumn(_ name: String) throws {
    let row = try #require(Schema.kubernetes.resources.first { $0.name == name })
    let type = ResourceType(
      group: row.group, version: row.version, plural: row.resource, kind: row.kind, isNamespaced: row.isNamespaced)
    let table = TablePresenter.table(resource: type, objects: [[:]], listMeta: [:], now: now)
    let columns = TablePresenter.columns(type)
    #expect(table["columnDefinitions"]?.array == columns)
    #expect(table["rows"]?[0]?["cells"]?.array?.count == columns.count)
    #expect(columns.contains { $0["format"] == "name" })
    // Most of what the table knows has columns of its own.
    let isPlain = ["roles", "clusterroles", "limitranges", "customresourcedefinitions"].contains(name)
    #expect((columns.map { $0["name"] } == ["Name", "Created At"]) == isPlain)
  }

  static let junk: [JSONValue] = [
    .null, 7, "text", [], [1, [2]], ["metadata": "x", "spec": 1, "status": [], "data": "y", "ports": ["port"]],
    [
      "metadata": ["name": 1, "creationTimestamp": "9999-12-31T23:59:59Z", "labels": [1], "deletionTimestamp": ""],
      "spec": [
        "containers": [1, "a", [:]], "ports": [["port": "x", "nodePort": true]], "selector": ["matchLabels": 1],
      ],
      "status": [
        "containerStatuses": [["restartCount": 9_223_372_036_854_775_807], ["restartCount": 1, "state": 1]],
        "conditions": [1, ["type": "Ready"]], "addresses": "a", "podIPs": [1],
      ],
    ],
  ]
  @Test(arguments: junk, ["pods", "nodes", "services", "deployments", "events", "endpointslices", "secrets"])
  func whatIsNoObjectStillHasARow(_ object: JSONValue, _ plural: String) {
    let group = ["deployments": "apps", "endpointslices": "discovery.k8s.io"][plural] ?? ""
    let table = TablePresenter.table(resource: resource(group, plural), objects: [object], listMeta: [:], now: now)
    #expect(table["rows"]?[0]?["cells"]?.array?.count == table["columnDefinitions"]?.array?.count)
  }

  @Test func rowsCarryAsMuchOfTheObjectAsAskedFor() throws {
    let object: JSONValue = ["kind": "ConfigMap", "metadata": ["name": "a", "labels": ["b": "c"]], "data": ["d": "e"]]
    func row(_ included: TablePresenter.IncludedObject) -> JSONValue? {
      TablePresenter.table(
        resource: resource("", "configmaps"), objects: [object], listMeta: ["resourceVersion": "7"],
        includeObject: included, now: now)["rows"]?[0]?["object"]
    }
    #expect(row(.none) == .null)
    #expect(row(.object) == object)
    #expect(
      row(.metadata) == [
        "kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1",
        "metadata": ["name": "a", "labels": ["b": "c"]],
      ])
    let table = try table("", "configmaps", "{metadata: {name: a}}")
    #expect(table["kind"] == "Table")
    #expect(table["apiVersion"] == "meta.k8s.io/v1")
    #expect(table["metadata"] == ["resourceVersion": "7"])
  }
}
