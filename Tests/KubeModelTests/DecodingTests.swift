import JSON
import KubeModel
import Testing

private func problems(_ text: String) throws -> [String] {
  let document = try JSONValue.parse(text)
  do {
    _ = try AnyKind.type(of: document).init(strict: document)
    return []
  } catch let error {
    return error.problems.map(\.description)
  }
}

@Suite struct DecodingTests {
  @Test func namesEveryFieldThatIsWrong() throws {
    let found = try problems(
      """
      {"apiVersion":"v1","kind":"Pod","metadata":{"name":"a","lables":{}},
       "spec":{"containers":[{"name":"c","imagee":"x","ports":[{"name":"http"}],"env":"no","tty":"yes"}],
               "restartPolicy":"Sometimes","terminationGracePeriodSeconds":1.5,
               "nodeSelector":{"a":1}}}
      """)
    #expect(
      found == [
        "metadata.lables: unknown field",
        "spec.containers[0].imagee: unknown field",
        "spec.containers[0].ports[0].containerPort: required",
        "spec.containers[0].env: expected a list, found string",
        "spec.containers[0].tty: expected true or false, found string",
        "spec.restartPolicy: \"Sometimes\" is not one of Always, Never, OnFailure",
        "spec.terminationGracePeriodSeconds: expected a whole number, found number",
        "spec.nodeSelector[a]: expected a string, found number",
      ])
  }

  @Test(arguments: [
    (#"[]"#, "expected an object, found array"),
    (#"{"kind":"Pod"}"#, "apiVersion: required"),
    (#"{"apiVersion":"v1","kind":7}"#, "kind: expected a string, found number"),
    (
      #"{"apiVersion":"apps/v1","kind":"FlockSet"}"#,
      "kind: not supported: FlockSet of apps/v1; known here: \(AnyKind.kinds.keys.sorted().joined(separator: ", "))"
    ),
    (
      #"{"apiVersion":"v1","kind":"Secret","data":{"k":"not base64!"}}"#,
      "data[k]: not base64 (for plain text, use stringData)"
    ),
    (
      #"{"apiVersion":"v1","kind":"Service","spec":{"ports":[{"port":99999999999}]}}"#,
      "spec.ports[0].port: 99999999999 does not fit in 32 bits"
    ),
    (
      #"{"apiVersion":"v1","kind":"Pod","spec":{"containers":[{"name":"a","resources":{"limits":{"cpu":"much"}}}]}}"#,
      "spec.containers[0].resources.limits[cpu]: \"much\" is not a quantity such as 500m or 128Mi"
    ),
  ])
  func refuses(_ document: String, _ message: String) throws {
    #expect(try problems(document) == [message])
  }

  @Test func keepsEverythingItReads() throws {
    let text = """
      {"apiVersion":"v1","kind":"Pod","metadata":{"labels":{"app":"web"},"name":"web"},"spec":{"containers":[{"command":["a","b"],\
      "image":"web:1","livenessProbe":{"httpGet":{"port":"http"}},"name":"web","ports":[{"containerPort":80,"name":"http"}],\
      "resources":{"limits":{"cpu":"500m","memory":"64Mi"}},"securityContext":{"runAsUser":0}}],"restartPolicy":"Never",\
      "volumes":[{"emptyDir":{},"name":"scratch"}]}}
      """
    let pod = try Pod(strict: JSONValue.parse(text))
    #expect(pod.json.encodedString() == text)
    #expect(pod.spec.containers[0].livenessProbe?.httpGet?.port == .string("http"))
    #expect(pod.spec.volumes[0].emptyDir == EmptyDirVolumeSource())
  }

  @Test func appliesTheDefaultsOfKubernetes() throws {
    var pod = try Pod(
      strict: JSONValue.parse(
        """
        {"apiVersion":"v1","kind":"Pod","metadata":{"name":"a"},"spec":{"hostNetwork":true,"containers":[
          {"name":"a","image":"reg:5000/a","ports":[{"containerPort":80}],"livenessProbe":{"httpGet":{"port":80}}},
          {"name":"b","image":"a:1","resources":{"limits":{"cpu":"1"}}}, {"name":"c","image":"a@sha256:00"}]}}
        """))
    pod.applyDefaults()
    #expect(pod.metadata.namespace == "default")
    #expect(pod.spec.restartPolicy == "Always")
    #expect(pod.spec.terminationGracePeriodSeconds == 30)
    #expect(pod.spec.containers.map(\.imagePullPolicy) == ["Always", "IfNotPresent", "IfNotPresent"])
    #expect(pod.spec.containers[0].ports[0].`protocol` == "TCP")
    #expect(pod.spec.containers[0].ports[0].hostPort == 80)
    #expect(pod.spec.containers[0].livenessProbe?.periodSeconds == 10)
    #expect(pod.spec.containers[0].livenessProbe?.httpGet?.scheme == "HTTP")
    #expect(pod.spec.containers[1].resources.requests["cpu"] == Quantity("1"))
  }

  @Test func aLenientReaderTakesWhatOtherVersionsWrite() throws {
    let pod = try Pod(
      lenient: JSONValue.parse(
        """
        {"metadata":{"name":"a","novel":1},"future":{},"spec":{"restartPolicy":"Sometimes","containers":[
          {"image":"x","ports":[{"name":"http"}],"novel":[]}]}}
        """))
    #expect(pod.metadata.name == "a")
    #expect(pod.spec.restartPolicy == "Sometimes")
    #expect(pod.spec.containers[0].image == "x")
    #expect(pod.spec.containers[0].ports[0].containerPort == 0)
    #expect(pod.spec.terminationGracePeriodSeconds == nil)
  }

  @Test(arguments: [
    (#"[]"#, "expected an object, found array"), (#"{"kind":"Node"}"#, #"kind: "Node" where "Pod" is meant"#),
    (#"{"apiVersion":7}"#, #"apiVersion: "" where "v1" is meant"#),
    (#"{"spec":{"containers":[{"tty":"yes"}]}}"#, "spec.containers[0].tty: expected true or false, found string"),
  ])
  func aLenientReaderRefusesWhatItCannotRead(_ document: String, _ message: String) throws {
    do {
      _ = try Pod(lenient: JSONValue.parse(document))
      Issue.record("was taken")
    } catch let error as ModelError {
      #expect(error.description == message)
    }
  }

  @Test func stopsCollectingAtItsBound() throws {
    let fields = (0..<500).map { "\"x\($0)\":1" }.joined(separator: ",")
    #expect(try problems("{\"apiVersion\":\"v1\",\"kind\":\"ConfigMap\",\(fields)}").count == FieldDecoder.problemsMax)
  }
}

@Suite struct ScalarTests {
  @Test(
    arguments: [
      ("0", 0, 0), ("1", 1, 1000), ("500m", 1, 500), ("1.5", 2, 1500), ("128Mi", 134_217_728, 134_217_728_000),
      ("2e3", 2000, 2_000_000), ("1E", 1_000_000_000_000_000_000, Int64.max), ("1n", 1, 1), ("-1", -1, -1000),
      ("0.1", 1, 100), ("1Ki", 1024, 1_024_000), ("12e-1", 2, 1200), ("8Ei", Int64.max, Int64.max), (".5", 1, 500),
    ] as [(String, Int64, Int64)])
  func readsQuantities(_ text: String, _ value: Int64, _ milli: Int64) throws {
    let quantity = try #require(Quantity(text))
    #expect(quantity.value == value)
    #expect(quantity.milliValue == milli)
  }

  @Test(arguments: ["", "m", "1x", "1.2.3", "--1", "1 Mi", "0x10", "1e", "٣", "1mi"])
  func refusesWhatIsNoQuantity(_ text: String) { #expect(Quantity(text) == nil) }

  @Test func comparesQuantitiesByAmount() { #expect(Quantity("1") == Quantity("1000m")) }

  @Test(
    arguments: [
      ("1970-01-01T00:00:00Z", 0), ("2000-02-29T12:30:45Z", 951_827_445), ("2026-11-21T22:00:00+01:00", 1_795_294_800),
      ("1969-12-31T23:59:59Z", -1), ("2400-12-31T23:59:59.5Z", 13_601_087_999),
    ] as [(String, Int64)])
  func readsTimes(_ text: String, _ seconds: Int64) { #expect(Time(text)?.secondsSinceEpoch == seconds) }

  @Test(arguments: [0, 951_827_445, -1, -62_135_596_800, 4_102_444_799] as [Int64])
  func writesTimesThatItReads(_ seconds: Int64) {
    #expect(Time(Time(secondsSinceEpoch: seconds).description)?.secondsSinceEpoch == seconds)
  }

  @Test(arguments: [
    "", "2026-01-31", "2026-13-01T00:00:00Z", "2026-01-01T24:00:00Z", "2026-01-01T00:00:00", "20260101T000000Z----",
  ])
  func refusesWhatIsNoTime(_ text: String) { #expect(Time(text) == nil) }

  @Test func base64GoesBothWays() {
    for length in 0..<10 {
      let bytes = (0..<length).map { UInt8($0 * 37 & 255) }
      #expect(Base64.decode(Base64.encode(bytes)) == bytes)
    }
    #expect(Base64.encode(Array("martlet".utf8)) == "bWFydGxldA==")
    for bad in ["a", "ab", "abc", "ab=c", "a===", "ab==ab==", "+/-_"] { #expect(Base64.decode(bad) == nil) }
  }

  @Test func selectorsMatchAsKubernetesSays() throws {
    let selector = try LabelSelector(
      strictly: #"""
        {"matchLabels":{"app":"web"},"matchExpressions":[{"key":"tier","operator":"In","values":["a","b"]},
         {"key":"old","operator":"DoesNotExist"},{"key":"zone","operator":"NotIn","values":["x"]}]}
        """#)
    #expect(selector.matches(["app": "web", "tier": "a"]))
    #expect(!selector.matches(["app": "web"]))
    #expect(!selector.matches(["app": "web", "tier": "a", "old": ""]))
    #expect(!selector.matches(["app": "web", "tier": "a", "zone": "x"]))
    #expect(LabelSelector().matches([:]))
  }
}

extension LabelSelector {
  init(strictly text: String) throws {
    var decoder = FieldDecoder()
    self.init(try JSONValue.parse(text), &decoder)
    guard decoder.problems.isEmpty else { throw ModelError(problems: decoder.problems) }
  }
}
