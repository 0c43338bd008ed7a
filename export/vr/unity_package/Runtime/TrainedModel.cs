using System;
using System.Collections.Generic;
using Unity.InferenceEngine;
using UnityEngine;

namespace Automl
{
    /// <summary>
    /// A trained model: named numbers in, named numbers out. Shapes are fixed, the batch is one;
    /// model.json beside the asset tells them.
    /// </summary>
    public sealed class TrainedModel : IDisposable
    {
        readonly Model model;
        readonly Worker worker;

        /// <param name="asset">An .onnx file of this package, as Unity has imported it.</param>
        /// <param name="backend">
        /// Where to compute. Small models are fastest on the CPU; README.md says which backends
        /// have all operators of this model.
        /// </param>
        public TrainedModel(ModelAsset asset, BackendType backend = BackendType.CPU)
        {
            model = ModelLoader.Load(asset);
            worker = new Worker(model, backend);
        }

        /// <summary>The names of the inputs.</summary>
        public IEnumerable<string> Inputs
        {
            get
            {
                foreach (var input in model.inputs)
                    yield return input.name;
            }
        }

        /// <summary>
        /// Compute the outputs. Truth values are 0 and 1. The main thread does not wait: results
        /// are read back when the backend has them.
        /// </summary>
        /// <exception cref="ArgumentException">An input is missing or has another length.</exception>
        public async Awaitable<Dictionary<string, float[]>> Run(IReadOnlyDictionary<string, float[]> inputs)
        {
            var tensors = new List<Tensor>();
            try
            {
                foreach (var input in model.inputs)
                {
                    if (!inputs.TryGetValue(input.name, out var values))
                        throw new ArgumentException($"input {input.name} is missing");
                    var tensor = ToTensor(input, values);
                    tensors.Add(tensor);
                    worker.SetInput(input.name, tensor);
                }
                worker.Schedule();
                var found = new Dictionary<string, float[]>();
                foreach (var output in model.outputs)
                    found[output.name] = await Read(worker.PeekOutput(output.name));
                return found;
            }
            finally
            {
                foreach (var tensor in tensors)
                    tensor.Dispose();
            }
        }

        static Tensor ToTensor(Model.Input input, float[] values)
        {
            var shape = input.shape.ToTensorShape();
            if (shape.length != values.Length)
                throw new ArgumentException($"input {input.name} is {shape}, not {values.Length} numbers");
            if (input.dataType == DataType.Float)
                return new Tensor<float>(shape, values);
            return new Tensor<int>(shape, Array.ConvertAll(values, value => (int)value));
        }

        static async Awaitable<float[]> Read(Tensor output)
        {
            if (output is Tensor<int> whole)
            {
                using var copy = await whole.ReadbackAndCloneAsync();
                return Array.ConvertAll(copy.DownloadToArray(), value => (float)value);
            }
            using var numbers = await ((Tensor<float>)output).ReadbackAndCloneAsync();
            return numbers.DownloadToArray();
        }

        public void Dispose() => worker.Dispose();
    }
}
