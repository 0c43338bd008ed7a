using System.IO;
using Unity.InferenceEngine;
using UnityEditor;
using UnityEngine;

namespace Automl.Editor
{
    /// <summary>
    /// Stores the weights of the selected model in half precision or in eight bits, as a .sentis
    /// file in Assets. Sentis computes in single precision all the same: files get smaller, answers
    /// not faster. Compare the answers with the examples in model.json afterwards.
    /// </summary>
    public static class QuantiseWeights
    {
        [MenuItem("Assets/Automl/Weights in half precision")]
        static void Half() => Write(QuantizationType.Float16, "half");

        [MenuItem("Assets/Automl/Weights in 8 bits")]
        static void Bytes() => Write(QuantizationType.Uint8, "uint8");

        [MenuItem("Assets/Automl/Weights in half precision", true)]
        [MenuItem("Assets/Automl/Weights in 8 bits", true)]
        static bool Selected() => Selection.activeObject is ModelAsset;

        static void Write(QuantizationType type, string suffix)
        {
            var asset = (ModelAsset)Selection.activeObject;
            var model = ModelLoader.Load(asset);
            ModelQuantizer.QuantizeWeights(type, ref model);
            var path = Path.Combine("Assets", $"{asset.name}-{suffix}.sentis");
            ModelWriter.Save(path, model);
            AssetDatabase.Refresh();
            Debug.Log($"{path} is {new FileInfo(path).Length / 1024} kB");
        }
    }
}
