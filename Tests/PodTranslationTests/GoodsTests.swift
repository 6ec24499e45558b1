import JSON
import KubeModel
import PodTranslation
import Testing

@Suite struct GoodsTests {
  private func place(_ spec: String, _ annotations: String = "{}") throws -> ClaimPlace {
    let volume = try PersistentVolume(
      lenient: JSONValue.parse(#"{"metadata":{"name":"pv1","annotations":\#(annotations)},"spec":\#(spec)}"#))
    return try ClaimPlace.of(volume, provisioner: "martlet.dev/local-path")
  }

  @Test func aVolumeIsADirectoryOfTheNode() throws {
    #expect(try place(#"{"hostPath":{"path":"/a","type":"Directory"}}"#) == .hostPath("/a", .directory))
    #expect(try place(#"{"local":{"path":"/disks/1"}}"#) == .local("/disks/1"))
    let ours = #"{"pv.kubernetes.io/provisioned-by":"martlet.dev/local-path"}"#
    #expect(try place(#"{"hostPath":{"path":"/a/b"}}"#, ours) == .provisioned("/a/b"))
  }

  @Test(arguments: [
    (#"{"nfs":{"server":"s","path":"/"}}"#, "volumes of type nfs are not supported by this node"),
    (#"{"csi":{"driver":"d","volumeHandle":"h"},"capacity":{"storage":"1Gi"}}"#, "volumes of type csi"),
    (#"{"local":{"path":"/d"},"volumeMode":"Block"}"#, "volumeMode Block is not supported"),
    (#"{"hostPath":{"path":"/a/../etc"}}"#, "must be absolute, without .."),
    (#"{"local":{"path":"relative"}}"#, "must be absolute, without .."),
  ])
  func whatThisNodeDoesNotMountIsRefusedByName(_ spec: String, _ why: String) {
    do {
      let found = try place(spec)
      Issue.record("\(spec) is \(found)")
    } catch {
      let text = "\(error)"
      #expect(text.contains(why), "\(text)")
      #expect(text.contains("MountVolume.SetUp failed for volume \"pv1\""))
    }
  }

  @Test func volumesOfAPodOfTheServerAreTakenAndThoseOfAManifestAreNot() throws {
    let spec = """
      {"containers":[{"name":"c","image":"i"}],"volumes":[
        {"name":"t","projected":{"sources":[{"serviceAccountToken":{"path":"token"}}]}},
        {"name":"d","persistentVolumeClaim":{"claimName":"x"}},{"name":"i","image":{"reference":"r"}}]}
      """
    let pod = try Pod(
      lenient: JSONValue.parse(#"{"metadata":{"name":"p","namespace":"n","uid":"u"},"spec":\#(spec)}"#))
    #expect(PodValidation.problems(inServed: pod).map(\.description) == [])
    let refused = PodValidation.problems(in: pod).map(\.description)
    #expect(refused.contains { $0.contains("spec.volumes[0].projected.sources[0].serviceAccountToken") })
    #expect(refused.contains { $0.contains("spec.volumes[1].persistentVolumeClaim") })
    #expect(TokenKey.all(of: pod) == [TokenKey(audience: "", seconds: 3600)])
  }
}
