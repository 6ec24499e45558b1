import JSON
import KubeSchema
import Testing

private let schema = Schema.kubernetes

private func type(_ kind: String, _ apiVersion: String = "v1") throws -> SchemaType {
  try #require(schema.type(apiVersion: apiVersion, kind: kind))
}

private func problems(_ text: String) throws -> [SchemaProblem] {
  let value = try JSONValue.parse(text)
  return schema.check(value, as: try #require(schema.type(of: value)))
}

@Suite struct CheckTests {
  @Test func unknownFieldsAreNamedWithTheirPlace() throws {
    let found = try problems(
      """
      {"apiVersion":"apps/v1","kind":"Deployment","metadata":{"name":"a","labels":{"any":"key"}},"spec":{"replica":1,
       "template":{"spec":{"containers":[{"name":"c","foo":1},{"name":"d","ports":[{"port":80}]}]}}}}
      """)
    #expect(
      found.strictDecodingError == """
        strict decoding error: unknown field "spec.replica", unknown field "spec.template.spec.containers[0].foo", \
        unknown field "spec.template.spec.containers[1].ports[0].port"
        """)
    #expect(found.firstUnreadable == nil)
  }

  @Test(arguments: [
    (
      #"{"apiVersion":"apps/v1","kind":"Deployment","spec":{"replicas":"three"}}"#,
      "json: cannot unmarshal string into Go struct field DeploymentSpec.spec.replicas of type int32"
    ),
    (
      #"{"apiVersion":"v1","kind":"Pod","spec":{"containers":[{"name":7}]}}"#,
      "json: cannot unmarshal number into Go struct field Container.spec.containers.name of type string"
    ),
    (
      #"{"apiVersion":"v1","kind":"Pod","spec":{"containers":{"name":"c"}}}"#,
      "json: cannot unmarshal object into Go struct field PodSpec.spec.containers of type []v1.Container"
    ),
    (
      #"{"apiVersion":"v1","kind":"Pod","spec":{"containers":[{"command":["a",1]}]}}"#,
      "json: cannot unmarshal number into Go struct field Container.spec.containers.command of type string"
    ),
    (
      #"{"apiVersion":"v1","kind":"Pod","spec":{"containers":[{"imagePullPolicy":true}]}}"#,
      "json: cannot unmarshal bool into Go struct field Container.spec.containers.imagePullPolicy of type v1.PullPolicy"
    ),
    (
      #"{"apiVersion":"v1","kind":"Pod","metadata":{"labels":{"a":1}}}"#,
      "json: cannot unmarshal number into Go struct field ObjectMeta.metadata.labels of type string"
    ),
    (
      #"{"apiVersion":"v1","kind":"Service","spec":{"ports":[{"port":99999999999}]}}"#,
      "json: cannot unmarshal number 99999999999 into Go struct field ServicePort.spec.ports.port of type int32"
    ),
    (
      #"{"apiVersion":"v1","kind":"Pod","spec":{"terminationGracePeriodSeconds":1.5}}"#,
      """
      json: cannot unmarshal number 1.5 into Go struct field PodSpec.spec.terminationGracePeriodSeconds of type int64
      """
    ),
    (
      #"{"apiVersion":"v1","kind":"Pod","spec":{"containers":[{"resources":{"limits":{"cpu":"much"}}}]}}"#,
      "quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'"
    ),
    (
      #"{"apiVersion":"v1","kind":"Pod","spec":{"containers":[{"resources":{"limits":{"cpu":"1kM"}}}]}}"#,
      "unable to parse quantity's suffix"
    ),
    (
      #"{"apiVersion":"v1","kind":"Secret","data":{"k":"not base64!"}}"#, "illegal base64 data at input byte 3"
    ),
  ])
  func aWrongTypeIsSaidAsKubernetesSaysIt(_ text: String, _ message: String) throws {
    #expect(try problems(text).map(\.description) == [message])
  }

  @Test func theDocumentItselfMayBeOfAWrongType() throws {
    #expect(
      try schema.check([1], as: type("Pod")).map(\.description)
        == ["json: cannot unmarshal array into Go value of type v1.Pod"])
  }

  @Test(arguments: ["", "a", "ab", "abc", "ab=c", "a===", "ab==ab==", "+/-_", "AAE=", "AA==", "aGk", "====", "AA=\n="])
  func base64IsCheckedAsItIsDecoded(_ text: String) throws {
    let bad = ["a", "ab", "abc", "ab=c", "a===", "ab==ab==", "+/-_", "aGk", "===="].contains(text)
    let value: JSONValue = ["apiVersion": "v1", "kind": "Secret", "data": ["k": .string(text)]]
    #expect(try schema.check(value, as: type("Secret")).isEmpty == !bad)
  }

  @Test func whatIsFineHasNoProblems() throws {
    for seed in 0..<300 {
      var maker = ObjectMaker(seed: seed)
      for kind in schema.types.values.filter(\.isKind).sorted(by: { $0.name < $1.name }) where !kind.isList {
        let object = JSONValue.object(maker.object(kind, depth: 4))
        #expect(schema.check(object, as: kind) == [], "seed \(seed): \(object.encodedString())")
      }
    }
  }

  @Test func problemsAreBounded() throws {
    let fields = (0..<500).map { "\"x\($0)\":1" }.joined(separator: ",")
    #expect(try problems("{\"apiVersion\":\"v1\",\"kind\":\"ConfigMap\",\(fields)}").count == Schema.problemsMax)
  }
}

@Suite struct ShapeTests {
  @Test func pruningKeepsWhatStructsKeep() throws {
    let value = try JSONValue.parse(
      """
      {"apiVersion":"v1","kind":"Pod","novel":1,"metadata":{"name":"a","labels":{},"annotations":{"k":"","n":null}},
       "spec":{"hostNetwork":false,"terminationGracePeriodSeconds":0,"restartPolicy":"","nodeName":null,"volumes":[],
        "containers":[{"name":"c","image":"i","x":{},"resources":{},"env":[{"name":"E","value":"","y":1}],
          "securityContext":{"runAsUser":0,"privileged":false}}]},"status":{"containerStatuses":[{"ready":false,
          "restartCount":0,"image":"","imageID":"","name":"c"}]}}
      """)
    let expected = try JSONValue.parse(
      """
      {"apiVersion":"v1","kind":"Pod","metadata":{"name":"a","annotations":{"k":"","n":""}},
       "spec":{"terminationGracePeriodSeconds":0,"containers":[{"name":"c","image":"i","resources":{},
          "env":[{"name":"E"}],"securityContext":{"runAsUser":0,"privileged":false}}]},
       "status":{"containerStatuses":[{"ready":false,"restartCount":0,"image":"","imageID":"","name":"c"}]}}
      """)
    #expect(try schema.pruned(value, as: type("Pod")) == expected)
  }

  @Test(arguments: [
    ("0.5", "500m"), ("1000m", "1"), ("1024Mi", "1Gi"), ("1000Mi", "1000Mi"), ("1.5Gi", "1536Mi"), ("0", "0"),
    ("0Ki", "0"), ("512", "512"), ("0.5Ki", "512"), ("100000k", "100M"), ("2e3", "2e3"), ("2000e0", "2e3"),
    ("1n", "1n"),
    ("0.1n", "1n"), ("-1500m", "-1500m"), ("+2", "2"), (".5", "500m"), ("1.", "1"), ("8Ei", "8Ei"), ("1Ei", "1Ei"),
    ("12E", "12E"), ("0.0000000001", "1n"), ("1536Mi", "1536Mi"), ("2048Ki", "2Mi"), ("4096", "4096"),
    ("99999999999999999999999999999999", "99999999999999999999999999999999"),
  ])
  func quantitiesGetTheirOneForm(_ text: String, _ canonical: String) throws {
    let value: JSONValue = ["spec": ["containers": [["resources": ["limits": ["cpu": .string(text)]]]]]]
    let pruned = try schema.pruned(value, as: type("Pod"))
    #expect(pruned["spec"]?["containers"]?[0]?["resources"]?["limits"]?["cpu"] == .string(canonical))
    #expect(try schema.pruned(pruned, as: type("Pod")) == pruned)
  }

  @Test func pruningAndDefaultingAreIdempotentAndKeepObjectsValid() throws {
    for seed in 0..<200 {
      var maker = ObjectMaker(seed: seed)
      for kind in schema.types.values.filter(\.isKind).sorted(by: { $0.name < $1.name }) where !kind.isList {
        let object = JSONValue.object(maker.object(kind, depth: 4))
        let pruned = schema.pruned(object, as: kind)
        #expect(schema.pruned(pruned, as: kind) == pruned, "seed \(seed)")
        let defaulted = schema.defaulted(pruned, as: kind)
        #expect(schema.defaulted(defaulted, as: kind) == defaulted, "seed \(seed)")
        #expect(schema.check(defaulted, as: kind) == [], "seed \(seed)")
      }
    }
  }
}

@Suite struct DefaultsTests {
  private func defaulted(_ text: String) throws -> JSONValue {
    let value = try JSONValue.parse(text)
    return schema.defaulted(value, as: try #require(schema.type(of: value)))
  }

  @Test func aPodGetsTheDefaultsOfKubernetes() throws {
    let pod = try defaulted(
      """
      {"apiVersion":"v1","kind":"Pod","metadata":{"name":"a"},"spec":{"hostNetwork":true,"volumes":[{"name":"v"},
        {"name":"s","secret":{"secretName":"x"}}],"containers":[
        {"name":"a","image":"reg:5000/a","ports":[{"containerPort":80}],"livenessProbe":{"httpGet":{"port":80},"periodSeconds":0}},
        {"name":"b","image":"a:1","resources":{"limits":{"cpu":"1"}}},{"name":"c","image":"a@sha256:00"},
        {"name":"d","image":"a:latest@sha256:00"}]}}
      """)
    let expected = try JSONValue.parse(
      """
      {"apiVersion":"v1","kind":"Pod","metadata":{"name":"a"},"spec":{"hostNetwork":true,
       "volumes":[{"name":"v","emptyDir":{}},{"name":"s","secret":{"secretName":"x","defaultMode":420}}],
       "restartPolicy":"Always","terminationGracePeriodSeconds":30,"dnsPolicy":"ClusterFirst","securityContext":{},
       "schedulerName":"default-scheduler","enableServiceLinks":true,"containers":[
        {"name":"a","image":"reg:5000/a","imagePullPolicy":"Always","terminationMessagePath":"/dev/termination-log",
         "terminationMessagePolicy":"File","ports":[{"containerPort":80,"hostPort":80,"protocol":"TCP"}],
         "livenessProbe":{"httpGet":{"port":80,"path":"/","scheme":"HTTP"},"periodSeconds":10,"timeoutSeconds":1,
          "successThreshold":1,"failureThreshold":3}},
        {"name":"b","image":"a:1","imagePullPolicy":"IfNotPresent","terminationMessagePath":"/dev/termination-log",
         "terminationMessagePolicy":"File","resources":{"limits":{"cpu":"1"},"requests":{"cpu":"1"}}},
        {"name":"c","image":"a@sha256:00","imagePullPolicy":"IfNotPresent",
         "terminationMessagePath":"/dev/termination-log","terminationMessagePolicy":"File"},
        {"name":"d","image":"a:latest@sha256:00","imagePullPolicy":"Always",
         "terminationMessagePath":"/dev/termination-log","terminationMessagePolicy":"File"}]}}
      """)
    #expect(pod == expected, "\(pod.encodedString(pretty: true))")
  }

  @Test func aDeploymentAndItsTemplateGetTheirs() throws {
    let deployment = try defaulted(
      """
      {"apiVersion":"apps/v1","kind":"Deployment","metadata":{"name":"a"},"spec":{"selector":{"matchLabels":{"a":"b"}},
       "strategy":{"rollingUpdate":{"maxSurge":1}},"template":{"metadata":{"labels":{"a":"b"}},"spec":{"containers":[
        {"name":"a","image":"i","resources":{"limits":{"cpu":"1"}}}]}}}}
      """)
    let spec = try #require(deployment["spec"])
    #expect(spec["replicas"] == 1)
    #expect(spec["revisionHistoryLimit"] == 10)
    #expect(spec["progressDeadlineSeconds"] == 600)
    #expect(spec["strategy"] == ["rollingUpdate": ["maxSurge": 1, "maxUnavailable": "25%"], "type": "RollingUpdate"])
    let pod = try #require(spec["template"]?["spec"])
    #expect(pod["restartPolicy"] == "Always")
    // Only pods themselves get these; a template says what was written.
    #expect(pod["enableServiceLinks"] == nil)
    #expect(pod["containers"]?[0]?["resources"]?["requests"] == nil)
    #expect(
      try defaulted(#"{"apiVersion":"apps/v1","kind":"ReplicaSet","spec":{"replicas":0}}"#)["spec"]?["replicas"] == 0)
    #expect(
      try defaulted(#"{"apiVersion":"apps/v1","kind":"Deployment","spec":{"strategy":{"type":"Recreate"}}}"#)["spec"]?[
        "strategy"] == ["type": "Recreate"])
  }

  @Test(arguments: [
    (
      #"{"apiVersion":"v1","kind":"Service","spec":{"ports":[{"port":80}]}}"#,
      #"{"ports":[{"port":80,"protocol":"TCP","targetPort":80}],"sessionAffinity":"None","type":"ClusterIP","internalTrafficPolicy":"Cluster"}"#
    ),
    (
      #"{"apiVersion":"v1","kind":"Service","spec":{"type":"LoadBalancer","sessionAffinity":"ClientIP"}}"#,
      #"{"type":"LoadBalancer","sessionAffinity":"ClientIP","internalTrafficPolicy":"Cluster","externalTrafficPolicy":"Cluster","allocateLoadBalancerNodePorts":true,"sessionAffinityConfig":{"clientIP":{"timeoutSeconds":10800}}}"#
    ),
    (
      #"{"apiVersion":"v1","kind":"Service","spec":{"type":"ExternalName","externalName":"a.b"}}"#,
      #"{"type":"ExternalName","externalName":"a.b","sessionAffinity":"None"}"#
    ),
    (
      #"{"apiVersion":"v1","kind":"Service"}"#,
      #"{"sessionAffinity":"None","type":"ClusterIP","internalTrafficPolicy":"Cluster"}"#
    ),
  ])
  func servicesGetWhatTheirTypeSays(_ text: String, _ spec: String) throws {
    #expect(try defaulted(text)["spec"] == JSONValue.parse(spec))
  }

  @Test func otherKindsGetTheirs() throws {
    #expect(try defaulted(#"{"apiVersion":"v1","kind":"Secret"}"#)["type"] == "Opaque")
    let namespace = try defaulted(#"{"apiVersion":"v1","kind":"Namespace","metadata":{"name":"n"}}"#)
    #expect(namespace["metadata"]?["labels"] == ["kubernetes.io/metadata.name": "n"])
    #expect(namespace["status"] == ["phase": "Active"])
    let node = try defaulted(#"{"apiVersion":"v1","kind":"Node","status":{"capacity":{"cpu":"2"}}}"#)
    #expect(node["status"]?["allocatable"] == ["cpu": "2"])
    let slice = try defaulted(
      #"{"apiVersion":"discovery.k8s.io/v1","kind":"EndpointSlice","ports":[{"port":80}],"endpoints":[]}"#)
    #expect(slice["ports"] == [["port": 80, "name": "", "protocol": "TCP"]])
    let event = try JSONValue.parse(#"{"apiVersion":"v1","kind":"Event","metadata":{"name":"e"}}"#)
    #expect(try schema.defaulted(event, as: type("Event")) == event)
  }

  @Test func whatIsOfAWrongTypeIsLeftAlone() throws {
    for text in [
      #"{"spec":7}"#, #"{"spec":{"containers":{"a":1},"volumes":["x",null]}}"#, #"{"spec":{"containers":[null,1,[]]}}"#,
      #"{"spec":{"containers":[{"resources":{"limits":[1]},"ports":[1],"image":5}],"hostNetwork":true}}"#,
    ] {
      let value = try JSONValue.parse(text)
      let result = try schema.pruned(schema.defaulted(value, as: type("Pod")), as: type("Pod"))
      #expect(result.object != nil)
    }
  }
}
