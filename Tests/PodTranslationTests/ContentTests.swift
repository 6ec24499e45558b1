import CRIModel
import JSON
import KubeModel
import PodTranslation
import Testing

private func secret(_ name: String, _ key: String, _ text: String) -> Secret {
  var secret = Secret()
  secret.metadata.name = name
  secret.stringData = [key: text]
  return secret
}

@Suite struct ContentTests {
  @Test func everythingThatAPodRefersToIsFound() throws {
    let spec = """
      {"imagePullSecrets":[{"name":"pull"}],
       "initContainers":[{"name":"i","envFrom":[{"configMapRef":{"name":"a"}},{"secretRef":{"name":"b"}}]}],
       "containers":[{"name":"c","env":[{"name":"X","valueFrom":{"configMapKeyRef":{"name":"c","key":"k"}}},
         {"name":"Y","valueFrom":{"secretKeyRef":{"name":"d","key":"k","optional":true}}},
         {"name":"Z","valueFrom":{"fieldRef":{"fieldPath":"metadata.name"}}}]}],
       "volumes":[{"name":"e","configMap":{"name":"e"}},{"name":"f","secret":{"secretName":"f"}},
         {"name":"g","projected":{"sources":[{"configMap":{"name":"g"}},{"secret":{"name":"h"}}]}}]}
      """
    let pod = try Pod(lenient: JSONValue.parse(#"{"metadata":{"name":"p","namespace":"n"},"spec":\#(spec)}"#))
    let found = ContentReference.all(of: pod).sorted().map { "\($0.kind) \($0.namespace)/\($0.name)" }
    #expect(
      found == [
        "configMap n/a", "configMap n/c", "configMap n/e", "configMap n/g", "secret n/b", "secret n/d", "secret n/f",
        "secret n/h", "secret n/pull",
      ])
  }

  @Test(arguments: [
    ("nginx", "hub"), ("library/nginx:1", "hub"), ("registry.example/team/app:1", "team"),
    ("registry.example/other/app", "whole"), ("localhost:5000/x", "local"), ("elsewhere.example/x", ""),
  ])
  func theCredentialOfAnImageIsThatOfItsRegistry(_ image: String, _ user: String) {
    let config = """
      {"auths":{"https://index.docker.io/v1/":{"username":"hub","password":"p"},
        "registry.example":{"username":"whole"},"registry.example/team":{"username":"team"}}}
      """
    let secrets = [
      secret("bad", ".dockerconfigjson", "no document"), secret("one", ".dockerconfigjson", config),
      secret("old", ".dockercfg", #"{"localhost:5000":{"username":"local"}}"#),
    ]
    #expect(PullSecrets.credential(for: image, in: secrets)?.username ?? "" == user)
  }

  @Test func whatOnlyOthersReadIsFineInAPodOfAServerAndTheRestIsRefused() throws {
    let spec = """
      {"nodeSelector":{"a":"b"},"affinity":{},"serviceAccountName":"x","automountServiceAccountToken":true,
       "containers":[{"name":"c","image":"i","resizePolicy":[{"resourceName":"cpu","restartPolicy":"NotRequired"}]}],
       "volumes":[{"name":"v","nfs":{"server":"s","path":"/"}}]}
      """
    let metadata = #"{"name":"p","uid":"u","generateName":"p-","ownerReferences":[],"finalizers":["x"]}"#
    let pod = try Pod(
      strict: JSONValue.parse(#"{"apiVersion":"v1","kind":"Pod","metadata":\#(metadata),"spec":\#(spec)}"#))
    #expect(PodValidation.problems(inServed: pod).map(\.description) == ["spec.volumes[0].nfs: not supported"])
    #expect(PodValidation.problems(in: pod).count > 3)
  }

  @Test(arguments: [
    (#""httpGet":{"port":1,"host":"10.0.0.9"}"#, "httpGet"),
    (#""tcpSocket":{"port":1,"host":"example.org"}"#, "tcpSocket"),
    (#""tcpSocket":{"port":1,"host":"127.0.0.1"}"#, "tcpSocket"),
  ])
  func aProbeLeadsNowhereButToItsPod(_ probe: String, _ kind: String) throws {
    let spec = #"{"containers":[{"name":"c","image":"i","livenessProbe":{\#(probe)}}]}"#
    let pod = try Pod(
      strict: JSONValue.parse(#"{"apiVersion":"v1","kind":"Pod","metadata":{"name":"p"},"spec":\#(spec)}"#))
    let why = "only the pod's own address, or a loopback address on the host's network"
    #expect(
      PodValidation.problems(in: pod).map(\.description)
        == ["spec.containers[0].livenessProbe.\(kind).host: not supported: \(why)"])
  }
}
